//! 200 buyers at once for 50 pieces.

use futures::future::join_all;
use millrace_system_tests::{PATIENCE, Start, System};
use millrace_testkit::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_buyers_of_fifty_pieces_get_exactly_fifty() {
    // On a busy machine some run out of time, which is not what this is about; with a rest for each of them it would be.
    let patient = |key| ("gateway", key, "1000".to_owned());
    let settings = vec![patient("BREAKER__WINDOW"), patient("BREAKER__VOLUME")];
    let system = System::start_with(Start { settings, ..Start::default() }).await;
    system.stock("HOT", 100, 50).await;
    let orders = join_all((0..200).map(|_| system.place_stubbornly(&[("HOT", 1)]))).await;
    assert_eq!(orders.len(), 200);
    let database = system.database("order");
    wait_until("every order decided", PATIENCE, || async {
        let undecided: i64 =
            sqlx::query_scalar("select count(*) from orders where status = 'placed'")
                .fetch_one(&database)
                .await
                .map_err(|error| error.to_string())?;
        if undecided == 0 { Ok(()) } else { Err(format!("{undecided} still placed")) }
    })
    .await;
    let ledger = system.assert_ledger().await;
    assert_eq!(ledger.orders["awaiting_payment"], 50, "{ledger}");
    assert_eq!(ledger.orders["rejected"], 150, "{ledger}");
    assert_eq!((ledger.stock[0].free, ledger.stock[0].held), (0, 50), "{ledger}");
}
