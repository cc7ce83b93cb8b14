//! What a site adds to the proxy that is shipped, and what a trunk says of the caller's number.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use tests::deadline::seconds;
use tests::kamailio::{Site, TRUNK};
use tests::leak::Canary;
use tests::pop::{Lane, Pop};
use tests::programs::{A_CALL, installed};
use tests::raw::{Raw, line, reply};
use tests::sipp::Dials;
use tests::stage::Stage;
use tests::trip::{Trip, pool, trip};

/// Makes the city anew, with `more` in its plan.
fn plan(pop: &Pop, more: &Value) {
    let mut plan = json!({"country": "44", "numbers": pool()});
    for (key, value) in more.as_object().into_iter().flatten() {
        plan[key] = value.clone();
    }
    let _ = pop.client("operator").put("/v1/cities/london", &plan).expect(200);
}

/// A stage with phones that send what they are told.
struct Phones {
    stage: Stage,
    trip: Trip,
    caller: Raw,
    callee: Raw,
}

impl Phones {
    fn on(stage: Stage) -> Self {
        let trip = trip(&stage.pop, "T-1", 1);
        let ports = &stage.pop.ports;
        let (caller, callee) = (Raw::on(ports.caller()), Raw::on(ports.callee()));
        Self { stage, trip, caller, callee }
    }

    /// The driver calls and the passenger is busy: the answer to the caller, and the INVITE that reached the callee,
    /// without the driver's number in it.
    fn call(&self, id: &str, more: &[&str]) -> (String, Option<String>) {
        let proxy = self.stage.kamailio.address();
        let dials = self.trip.driver_dials();
        std::thread::scope(|scope| {
            let calling = scope.spawn(|| self.caller.call(proxy, &dials, id, more));
            let invite = self.callee.receive(seconds(1));
            if let Some(invite) = &invite {
                self.callee.send(proxy, &reply(invite, "486 Busy"), "");
                let _ = self.callee.expect("ACK");
                Canary::new(&self.trip.driver.phone).absent_from("the INVITE", invite.as_bytes());
            }
            (calling.join().expect("an answer"), invite)
        })
    }
}

#[test]
fn the_carrier_vouches_for_a_number_and_a_handset_does_not() {
    if !installed(&A_CALL) {
        return;
    }
    let phones = Phones::on(Stage::set(Lane::Chosen));
    let trunk = json!({"country": "44", "verstat": "require_passed"});
    plan(&phones.stage.pop, &json!({"trunks": {TRUNK: trunk}}));
    let own = &phones.trip.driver.phone;
    let (good, bad) = ("verstat=TN-Validation-Passed", "verstat=TN-Validation-Failed");
    let asserted =
        |user: &str, uri: &str| format!("P-Asserted-Identity: \"x\" <sip:{own}{user}@192.0.2.1{uri}>");
    let from = |uri: &str| format!("From: <sip:{own}@192.0.2.1;{uri}>;tag=f");
    for (id, lines, passes) in [
        ("a", vec![asserted("", &format!(";{good}"))], true),
        ("b", vec![asserted(&format!(";{good}"), ";user=phone")], true),
        ("c", vec![asserted("", &format!(";{bad}")), from(good)], false),
        // The trunk says nothing: what the handset wrote in its From does not count, whoever the number is asserted by.
        ("d", vec![asserted("", ""), from(good)], false),
        ("e", vec![from(good)], false),
        ("f", vec![format!("P-Asserted-Identity: <sip:{own}@192.0.2.1>;{good}")], false),
        ("g", vec![], false),
    ] {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let (answer, invite) = phones.call(id, &lines);
        let code = if passes { "486" } else { "403" };
        assert!(answer.starts_with(&format!("SIP/2.0 {code} ")), "{id}: {answer}");
        assert_eq!(invite.is_some(), passes, "{id}: the callee was called, or not");
        assert!(!invite.unwrap_or_default().contains("verstat"), "{id}: a verdict reached the callee");
    }
    let refused = phones.stage.kamailio.log().matches("rejected with 403 (unverified)").count();
    assert_eq!(refused, 5, "{}", phones.stage.kamailio.log());
}

#[test]
fn a_site_may_trust_what_its_trunk_leaves_in_from() {
    if !installed(&A_CALL) {
        return;
    }
    let settings = "#!define BAUTA_VERSTAT_FROM \"yes\"\n".to_owned();
    let phones = Phones::on(Stage::with_site(Lane::Chosen, |_| Site { settings, ..Site::default() }));
    let trunk = json!({"country": "44", "verstat": "require_passed"});
    plan(&phones.stage.pop, &json!({"trunks": {TRUNK: trunk}}));
    let own = &phones.trip.driver.phone;
    let from = format!("From: <sip:{own};verstat=TN-Validation-Passed@192.0.2.1>;tag=f");
    let (answer, _) = phones.call("a", &[&from]);
    assert!(answer.starts_with("SIP/2.0 486 "), "{answer}");
    // Beside an assertion of the trunk it does not count even there: it may be about another number.
    let asserted = format!("P-Asserted-Identity: <sip:{own}@192.0.2.1>");
    let (answer, _) = phones.call("b", &[&from, &asserted]);
    assert!(answer.starts_with("SIP/2.0 403 "), "{answer}");
}

#[test]
fn a_route_of_the_site_gets_the_names_and_cannot_add_to_what_leaves() {
    if !installed(&A_CALL) {
        return;
    }
    let routes = |port: u16, announcer: u16| {
        format!(
            r#"route[ANNOUNCE] {{
	xlog("L_NOTICE", "site: $var(decision) [$var(announcement)] [$var(consent_prompt)] [$var(reason)] $var(code)\n");
	if ($var(decision) == "connect") {{
		$var(next_hop) = "sip:127.0.0.1:{port}";
		append_hf("X-Site: $fu\r\n");
		append_hf("P-Asserted-Identity: <$fu>\r\n");
		insert_hf("Subject: $fU\r\n");
	}} else if ($var(reason) == "no_trip") {{
		$var(code) = 410;
	}} else {{
		$du = "sip:127.0.0.1:{announcer}";
		t_relay();
		exit;
	}}
}}
"#
        )
    };
    let stage = Stage::with_site(Lane::Chosen, |ports| Site {
        next_hop: Some(format!("sip:127.0.0.1:{}", ports.second_caller())),
        routes: routes(ports.callee(), ports.second_caller()),
        ..Site::default()
    });
    let phones = Phones::on(stage);
    plan(
        &phones.stage.pop,
        &json!({"consent_prompt": "recorded-en", "answers": {"unknown_caller": {"announcement": "who.1"}}}),
    );

    let (answer, invite) = phones.call("a", &[]);
    let invite = invite.expect("INVITE where the site's route sends it");
    assert!(answer.starts_with("SIP/2.0 486 "), "{answer}");
    for added in ["X-Site", "P-Asserted-Identity", "Subject"] {
        assert!(!invite.contains(added), "{invite}");
    }
    let trip = &phones.trip;
    assert!(line(&invite, "From:").contains(&trip.passenger.dial), "{invite}");
    assert!(
        line(&answer, "From:").contains(&trip.driver.phone),
        "the caller gets back its own From: {answer}"
    );

    let proxy = phones.stage.kamailio.address();
    let unused = pool().into_iter().find(|n| *n != trip.driver.dial && *n != trip.passenger.dial);
    let nowhere = Dials { own: trip.driver.phone.clone(), dial: unused.expect("an unused pool number") };
    assert!(phones.caller.call(proxy, &nowhere, "b", &[]).starts_with("SIP/2.0 410 Refused"));
    let stranger = Dials { own: "+447700999999".into(), dial: trip.driver.dial.clone() };
    let announcer = Raw::on(phones.stage.pop.ports.second_caller());
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| phones.caller.call(proxy, &stranger, "c", &[]));
        announcer.send(proxy, &reply(&announcer.expect("INVITE at the announcer"), "480 Announced"), "");
        let heard = calling.join().expect("an answer");
        assert!(heard.starts_with("SIP/2.0 480 Announced"), "{heard}");
    });
    let log = phones.stage.kamailio.log();
    for said in [
        "site: connect [] [recorded-en] []",
        "site: reject [no_trip] [] [no_trip] 404",
        "site: reject [who.1] [] [unknown_caller] 404",
    ] {
        assert!(log.contains(said), "{said} is not in:\n{log}");
    }
}
