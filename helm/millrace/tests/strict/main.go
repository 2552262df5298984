// Reads rendered manifests from standard input and decodes each as strictly as an API server told to: unknown and
// repeated fields, wrong types and unknown kinds are errors. It needs no cluster and no schema files, because the
// types are compiled in. It adds the few rules of this chart that no type knows.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	if err := monitoring.AddToScheme(scheme.Scheme); err != nil {
		fail(err)
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		json.SerializerOptions{Yaml: true, Strict: true})
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	checked, wrong := 0, 0
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fail(err)
		}
		object, kind, err := strict.Decode(text, nil, nil)
		if runtime.IsMissingKind(err) {
			continue // a document with comments only
		}
		if err == nil {
			err = check(object)
		}
		if err != nil {
			wrong++
			fmt.Fprintf(os.Stderr, "%v: %v\n%s\n", kind, err, text)
		}
		checked++
	}
	fmt.Printf("%d objects decoded strictly, %d wrong\n", checked, wrong)
	if wrong > 0 || checked == 0 {
		os.Exit(1)
	}
}

// check holds what the types allow and this chart must not.
func check(object runtime.Object) error {
	switch it := object.(type) {
	case *apps.Deployment:
		return errors.Join(pod(it.Spec.Template.Spec, true), stop(it.Spec.Template.Spec))
	case *batch.Job:
		return pod(it.Spec.Template.Spec, false)
	case *autoscaling.HorizontalPodAutoscaler:
		if it.Spec.MinReplicas == nil || *it.Spec.MinReplicas > it.Spec.MaxReplicas {
			return errors.New("minReplicas is missing or above maxReplicas")
		}
	}
	return nil
}

// pod refuses what Pod Security «restricted» would, and a root file system that can be written.
func pod(spec core.PodSpec, probed bool) error {
	security := spec.SecurityContext
	switch {
	case security == nil || security.RunAsNonRoot == nil || !*security.RunAsNonRoot:
		return errors.New("the pod may run as root")
	case security.SeccompProfile == nil || security.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault:
		return errors.New("the pod has no seccomp profile")
	case spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken:
		return errors.New("the pod gets a token of the Kubernetes API")
	}
	for _, container := range spec.Containers {
		own := container.SecurityContext
		switch {
		case own == nil || own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem:
			return fmt.Errorf("%s may write to its root file system", container.Name)
		case own.AllowPrivilegeEscalation == nil || *own.AllowPrivilegeEscalation:
			return fmt.Errorf("%s may gain privileges", container.Name)
		case own.Capabilities == nil || len(own.Capabilities.Drop) != 1 || own.Capabilities.Drop[0] != "ALL":
			return fmt.Errorf("%s keeps capabilities", container.Name)
		case container.Resources.Requests.Cpu().IsZero() || container.Resources.Limits.Memory().IsZero():
			return fmt.Errorf("%s has no cpu request or no memory limit", container.Name)
		case probed && (container.StartupProbe == nil || container.ReadinessProbe == nil || container.LivenessProbe == nil):
			return fmt.Errorf("%s lacks a probe", container.Name)
		case probed && container.ReadinessProbe.HTTPGet.Path == container.LivenessProbe.HTTPGet.Path:
			return fmt.Errorf("%s answers readiness and liveness with one probe", container.Name)
		}
	}
	return nil
}

// stop compares the grace period with the pause before the stop; the rest of the sum is in the settings, which the
// chart writes from the same values.
func stop(spec core.PodSpec) error {
	if spec.TerminationGracePeriodSeconds == nil {
		return errors.New("no terminationGracePeriodSeconds")
	}
	for _, container := range spec.Containers {
		if container.Lifecycle == nil || container.Lifecycle.PreStop == nil || container.Lifecycle.PreStop.Sleep == nil {
			return fmt.Errorf("%s has no preStop pause", container.Name)
		}
		if container.Lifecycle.PreStop.Sleep.Seconds >= *spec.TerminationGracePeriodSeconds {
			return fmt.Errorf("%s pauses longer than its grace period", container.Name)
		}
	}
	return nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
