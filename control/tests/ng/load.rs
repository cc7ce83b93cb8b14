//! New calls that are not taken on: what the proxy is told, so that it turns to its next node, and that calls in
//! progress never notice.

use control::live::LiveCalls;
use relay::program::message::{Limit, Refusal};
use serde_json::json;

use crate::site::{Site, answer, delete, offer, until};

#[tokio::test]
async fn a_limit_is_told_in_the_words_that_proxies_turn_away_on() {
    let mut site = Site::new().await;
    for (limit, message) in [
        (Limit::Draining, "Draining"),
        (Limit::Calls, "Parallel session limit reached"),
        (Limit::Packets, "Load limit exceeded"),
        (Limit::Cpu, "CPU usage limit exceeded"),
    ] {
        site.relay.state().refuse = Some(Refusal::Overloaded(limit));
        let mut request = offer("a", 4000);
        request.as_object_mut().unwrap().remove("supports");
        let plain = json!({"result": "error", "error-reason": "Parallel session limit reached"});
        assert_eq!(site.proxy.ask(request.clone()).await, plain, "{limit:?}");
        request["supports"] = json!(["load limit"]);
        let told = json!({"result": "load limit", "message": message});
        assert_eq!(site.proxy.ask(request.clone()).await, told);
        assert_eq!(site.proxy.ask_bencode(request).await, told);
    }
    site.relay.state().refuse = None;
    assert_eq!(
        site.proxy.ask(offer("a", 4000)).await["result"],
        "ok",
        "nothing of the refused offers is left"
    );
}

#[tokio::test]
async fn a_draining_pop_takes_no_new_call_and_lets_the_others_go_on_over_restarts() {
    let mut site = Site::new().await;
    site.call("old").await;
    site.control.calls.drain(true).await.unwrap();
    assert!(site.control.calls.relay().draining);
    let refused = |reply: serde_json::Value| reply["result"] == "load limit";
    assert!(refused(site.proxy.ask(offer("new", 4100)).await));
    let mut again = offer("old", 4200);
    again["to-tag"] = answer("old", 5200)["to-tag"].clone();
    assert_eq!(site.proxy.ask(again).await["result"], "ok");
    assert_eq!(site.proxy.ask(answer("old", 5200)).await["result"], "ok");

    site.restart_control().await;
    assert!(site.control.calls.relay().draining, "the relay tells its new control");
    assert!(refused(site.proxy.ask(offer("new", 4100)).await));
    assert_eq!(site.proxy.ask(delete("old")).await["result"], "ok");

    site.relay.stop().await;
    site.control.connected(false).await;
    site.relay.come_back(true);
    site.control.connected(true).await;
    until(|| site.relay.state().draining).await;
    site.control.calls.drain(false).await.unwrap();
    assert_eq!(site.proxy.ask(offer("new", 4100)).await["result"], "ok");
}
