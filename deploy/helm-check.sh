#!/usr/bin/env bash
# Checks the chart without a cluster: lint, render with the defaults, with every switch turned and without any security, decode each object
# strictly, and see that what must be refused is refused. KUBECTL="kubectl ..." also asks a real API server (dry run).
set -euo pipefail
cd "$(dirname "$0")/.."
chart=helm/millrace
kubernetes=1.34.4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

helm=$(command -v helm || true)
if [ -z "$helm" ]; then
    helm=$(go env GOPATH)/bin/helm
    if [ ! -x "$helm" ]; then
        echo "helm is missing: building it, which takes a few minutes the first time"
        go install helm.sh/helm/v3/cmd/helm@latest
    fi
fi
(cd $chart/tests/strict && go build -o "$work/strict" .)

render() { # name, then helm's further arguments
    "$helm" template millrace $chart --namespace millrace --kube-version $kubernetes "${@:2}" >"$work/$1.yaml"
}
refused() { # what, the word that the message must have, then helm's further arguments
    if render refused "${@:3}" 2>"$work/message"; then
        echo "FAILED: $1 was rendered" >&2
        exit 1
    fi
    if ! grep -q -- "$2" "$work/message"; then
        echo "FAILED: $1 was refused for another reason:" >&2
        cat "$work/message" >&2
        exit 1
    fi
    echo "refused as it should be: $1"
}

for name in default full plain; do
    values=()
    [ $name = default ] || values=(--values $chart/tests/$name-values.yaml)
    "$helm" lint --strict --quiet $chart "${values[@]}"
    render $name "${values[@]}"
    echo -n "$name values: "
    "$work/strict" <"$work/$name.yaml"
    if [ -n "${KUBECTL:-}" ]; then
        # The operator's own kinds are not in a plain cluster; the namespace is one that exists.
        "$helm" template millrace $chart --namespace default --kube-version $kubernetes "${values[@]}" \
            --set serviceMonitor.enabled=false |
            $KUBECTL apply --dry-run=server --validate=strict -f - >"$work/applied"
        echo "$name values: $(wc -l <"$work/applied") objects accepted by the API server"
    fi
done
if grep -q "SASL_USERNAME\|SASL_PASSWORD" "$work/plain.yaml"; then
    echo "FAILED: Kafka's user is set where Kafka asks for none" >&2
    exit 1
fi

refused "an unknown key at the top" "surprise" --set surprise=1
refused "an unknown key of a service" "replcias" --set services.order.replcias=3
refused "an unknown key of a store" "hots" --set stores.postgres.hots=x
refused "an unknown service" "shipping" --set services.shipping.redis=false
refused "a wrong type" "maxReplicas" --set-string defaults.autoscaling.maxReplicas=many
refused "more connections than PostgreSQL has" "connection budget" --set services.order.database.poolMax=200
refused "more replicas than PostgreSQL has connections for" "connection budget" --set defaults.autoscaling.maxReplicas=60
refused "fewer replicas at most than at least" "above maxReplicas" --set defaults.autoscaling.minReplicas=30
refused "a port that the probes wouldn't follow" "is set by ports" --set 'services.order.settings.http\.port=1234'
refused "a password among the values" "secrets" --set 'services.order.secrets.database\.password=hunter2'
echo "helm-check passed"
