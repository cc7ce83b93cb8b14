//! Pools: the ladder when one runs dry, what numbers are used for, cities in files, forecasts.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::server::{Calls, DRIVER, PASSENGER, Server, between, dialling, phone, until, wish};

fn plan(numbers: &[&str], more: Value) -> Value {
    let mut plan = json!({"country": "44", "numbers": numbers});
    plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    plan
}

fn dials(trip: &Value) -> [String; 2] {
    [0, 1].map(|n| trip["parties"][n]["dial"].as_str().unwrap().to_owned())
}

/// How many numbers were given, by where they came from.
fn given(server: &Server, from: &str) -> u32 {
    let metrics = server.send("GET", "/metrics", None, "").1;
    let name = format!("bauta_pool_numbers_given_total{{from=\"{from}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

#[test]
fn a_full_pool_gives_up_tombstones_and_says_how_many_numbers_are_enough() {
    let server = Server::start(Calls::default());
    server.city(2);
    let first = server.trip("T-1");
    server.trip("T-2");
    let full = server.business("POST", "/v1/trips", wish("T-3"));
    let problem = full.problem(409, "3 active numbers would be enough");
    let want = json!(["urn:bauta:problem:pool_exhausted", "london", "driver", 2, 3]);
    assert_eq!(json!(["type", "city", "role", "numbers", "numbers_enough"].map(|name| &problem[name])), want);
    let forecast = server.operator("GET", "/v1/cities/london/forecast", Value::Null).expect(200);
    assert_eq!(
        (&forecast["exhausted_last_day"], &forecast["free_for_busiest_party"]),
        (&json!(1), &json!(0))
    );

    // Grace is no tombstone yet; cooling is one.
    server.business("POST", "/v1/trips/T-1/close", Value::Null).expect(200);
    server.business("POST", "/v1/trips", between("T-3", DRIVER, &phone(1))).problem(409, "numbers are held");
    server.business("POST", "/v1/trips/T-1/cancel", Value::Null).expect(200);
    let third = server.business("POST", "/v1/trips", between("T-3", DRIVER, &phone(1))).expect(201);
    assert_eq!((dials(&third)[0].as_str(), given(&server, "tombstone")), (dials(&first)[0].as_str(), 1));
    assert_eq!(server.call(DRIVER, &first["parties"][0])["trip"], "T-3");
    let first_now = server.business("GET", "/v1/trips/T-1", Value::Null).expect(200);
    assert_eq!(first_now["handed_on"], true, "to a stranger: {first_now}");
    assert_eq!(
        server.call(PASSENGER, &first["parties"][1])["reason"],
        "trip_ended",
        "its other party's trip is over"
    );
    server.city(3);
    server.business("POST", "/v1/trips", wish("T-4")).expect(201);
}

#[test]
fn neighbours_lend_numbers_before_tombstones_go() {
    let server = Server::start(Calls::default());
    let put =
        |city: &str, plan: Value| server.operator("PUT", &format!("/v1/cities/{city}"), plan).expect(201);
    put("leeds", plan(&["+441134960001"], json!({})));
    put("york", plan(&["+441904960001"], json!({})));
    put("london", plan(&["+442079460001"], json!({"neighbours": ["york", "leeds"]})));
    let made =
        |id: &str, n: u32| server.business("POST", "/v1/trips", between(id, DRIVER, &phone(n))).expect(201);
    let first = made("T-1", 1);
    server.business("POST", "/v1/trips/T-1/cancel", Value::Null).expect(200);
    let (second, third) = (made("T-2", 2), made("T-3", 3));
    assert_eq!(dials(&first)[0], "+442079460001");
    assert_eq!([&dials(&second)[0], &dials(&third)[0]], ["+441904960001", "+441134960001"], "in their order");
    let connect = server.call(DRIVER, &second["parties"][0]);
    assert_eq!((&connect["decision"], &connect["trip"]), (&json!("connect"), &json!("T-2")));
    assert_eq!(dials(&made("T-4", 4))[0], "+442079460001", "then the tombstone");
    let full = server.business("POST", "/v1/trips", between("T-5", DRIVER, &phone(5)));
    assert_eq!(full.problem(409, "2 active numbers would be enough")["numbers"], 1, "the city's own count");
    let forecast = server.operator("GET", "/v1/cities/london/forecast", Value::Null).expect(200);
    assert_eq!(forecast["borrowed"], 2);

    let own = plan(&["+442079460001"], json!({"neighbours": ["london"]}));
    server.operator("PUT", "/v1/cities/london", own).problem(400, "its own neighbour");
    let taken = server.operator("PUT", "/v1/cities/bath", plan(&["+441134960001"], json!({})));
    assert_eq!(taken.problem(409, "the city leeds")["type"], "urn:bauta:problem:number_taken");
    server.operator("GET", "/v1/cities/bath", Value::Null).problem(404, "no such city");
}

#[test]
fn a_numbers_state_says_what_it_is_used_for() {
    let server = Server::start(Calls::default());
    server.city(2);
    let made = server.trip("T-1");
    let [first, second] = dials(&made);
    let set = |number: &str, state: &str| {
        server.operator("PUT", &format!("/v1/cities/london/numbers/{number}"), json!({"state": state}))
    };
    assert_eq!(set(&first, "draining").expect(200), json!({"number": first, "state": "draining"}));
    let city = server.operator("GET", "/v1/cities/london", Value::Null).expect(200);
    assert_eq!((&city["numbers"], &city["draining"]), (&json!([second]), &json!([first])));
    assert_eq!(server.call(DRIVER, &made["parties"][0])["decision"], "connect", "trips that have it go on");
    for n in [1, 3] {
        let trip = between(&format!("T-{}", n + 1), &phone(n), &phone(n + 1));
        let trip = server.business("POST", "/v1/trips", trip).expect(201);
        assert_eq!(dials(&trip), [second.as_str(); 2], "new ones do not get it");
    }
    server.business("POST", "/v1/trips/T-1/close", Value::Null).expect(200);
    let again = server.business("POST", "/v1/trips", between("T-9", &phone(1), PASSENGER));
    again.problem(409, "2 active numbers would be enough");
    server.business("POST", "/v1/trips/T-1/reopen", Value::Null).expect(200);

    set(&first, "suspended").expect(200);
    let want = json!({"decision": "reject", "sip_code": 480, "reason": "number_suspended", "announcement": "number_suspended"});
    assert_eq!(server.call(DRIVER, &made["parties"][0]), want);
    let pin = json!({"call_id": "p", "from": format!("sip:{}@x", phone(9)), "to": dialling(&made["parties"][0]),
        "pin": made["parties"][0]["pin"]});
    assert_eq!(server.decide(pin)["bauta"]["reason"], "number_suspended");
    let intent = server.business("POST", "/v1/trips/T-1/intents", json!({"role": "driver"}));
    assert_eq!(intent.problem(409, "refused")["reason"], "number_suspended");
    set(&first, "active").expect(200);
    assert_eq!(server.call(DRIVER, &made["parties"][0])["decision"], "connect");

    set(&second, "reserved").expect(200);
    let forecast = server.operator("GET", "/v1/cities/london/forecast", Value::Null).expect(200);
    assert_eq!(forecast["numbers"], json!({"active": 1, "reserved": 1, "draining": 0, "suspended": 0}));
    set(&first, "broken").problem(400, "unknown variant `broken`");
    set("+442079469999", "active").problem(404, "in london");
    set("442079460001", "active").problem(404, "no such number");
    let nowhere = format!("/v1/cities/nowhere/numbers/{first}");
    server.operator("PUT", &nowhere, json!({"state": "active"})).problem(404, "city nowhere");
}

#[test]
fn a_forecast_tells_how_full_a_pool_is_and_what_it_needs() {
    let server = Server::start(Calls::default());
    server.city(10);
    let forecast = || server.operator("GET", "/v1/cities/london/forecast", Value::Null).expect(200);
    let empty = forecast();
    assert_eq!(
        (&empty["in_use"], &empty["busiest_party"], &empty["numbers_to_add"], &empty["runs_dry_at"]),
        (&json!(0), &Value::Null, &json!(0), &Value::Null)
    );
    for n in 1..=8 {
        server.business("POST", "/v1/trips", between(&format!("T-{n}"), DRIVER, &phone(n))).expect(201);
    }
    let busy = forecast();
    assert_eq!(busy["busiest_party"], json!({"numbers_held": 8, "trips_last_day": 8}));
    assert_eq!((&busy["trips_last_day"], &busy["free_for_busiest_party"]), (&json!(8), &json!(2)));
    let (needed, add) = (busy["numbers_needed"].as_u64().unwrap(), busy["numbers_to_add"].as_u64().unwrap());
    assert!(needed > 10 && add == needed - 10, "{busy}");
    assert!(busy["runs_dry_at"].is_string() && busy["runs_dry_in_seconds"].as_u64() > Some(0));
    server.operator("GET", "/v1/cities/nowhere/forecast", Value::Null).problem(404, "no such city");
    let masking = Arc::clone(&server.masking);
    server.run(async move { masking.foresee(control::moment::Moment::now()).await });
    let metrics = server.send("GET", "/metrics", None, "").1;
    assert!(metrics.contains(&format!("bauta_pool_numbers_to_add{{city=\"london\"}} {add}\n")), "{metrics}");
}

/// Lets the server look at its city files; one that changed counts when it has stayed the same for two looks.
fn look(server: &Server) {
    for _ in 0..2 {
        let masking = Arc::clone(&server.masking);
        server.run(async move { masking.look_at_files().await });
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
}

#[test]
fn a_city_may_be_a_file() {
    const NUMBERS: &str = "country = \"44\"\nnumbers = [\"+442079460001\", \"+442079460002\"]\n";
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let cities = folder.path().join("cities");
    write(&cities, "london.toml", NUMBERS);
    let server = Server::over(Arc::clone(&folder), Calls { connected: true, ..Calls::default() });
    let made = server.trip("T-1");
    assert_eq!(server.call(DRIVER, &made["parties"][0])["max_seconds"], 3600);

    let put = server.operator("PUT", "/v1/cities/london", plan(&["+442079460009"], json!({})));
    assert_eq!(
        put.problem(409, "cities/london.toml: change it there")["type"],
        "urn:bauta:problem:city_is_a_file"
    );
    let number = "/v1/cities/london/numbers/+442079460001";
    server.operator("PUT", number, json!({"state": "draining"})).problem(409, "cities/london.toml");

    write(&cities, "london.toml", &format!("{NUMBERS}max_seconds = 60\n"));
    write(&cities, "paris.toml", "country = \"33\"\nnumbers = [\"+33199000001\"]\n");
    look(&server);
    let city = |name: &str| server.operator("GET", &format!("/v1/cities/{name}"), Value::Null);
    assert_eq!(city("london").expect(200)["max_seconds"], 60);
    assert_eq!(city("paris").expect(200)["country"], "33");

    // One that is broken is named, and the city stays as it was.
    write(&cities, "london.toml", &format!("{NUMBERS}max_seconds = 0\n"));
    write(&cities, "rome.toml", &format!("country = \"39\"\nnumbers = [\"{PASSENGER}\n"));
    look(&server);
    let ready = server.send("GET", "/readyz", None, "");
    assert_eq!(ready.expect(200)["city_files"], json!({"refused": 2}));
    assert!(!ready.1.contains(".toml"), "what is wrong is for the operator: {}", ready.1);
    let refused = server.operator("GET", "/v1/cities", Value::Null).expect(200)["refused_files"].clone();
    let (london, rome) = (refused["london"].as_str().unwrap(), refused["rome"].as_str().unwrap());
    assert!(london.contains("london.toml:3: max_seconds must be from 1"), "{refused}");
    assert!(rome.contains("rome.toml:2"), "{refused}");
    assert_eq!(city("london").expect(200)["max_seconds"], 60);
    city("rome").problem(404, "no such city");
    assert!(server.send("GET", "/metrics", None, "").1.contains("bauta_city_files_refused 2\n"));

    write(&cities, "london.toml", NUMBERS);
    std::fs::remove_file(cities.join("rome.toml")).unwrap();
    std::fs::remove_file(cities.join("paris.toml")).unwrap();
    look(&server);
    assert_eq!(server.send("GET", "/readyz", None, "").expect(200)["city_files"], json!({"refused": 0}));
    let cities = server.operator("GET", "/v1/cities", Value::Null).expect(200);
    assert_eq!(cities["refused_files"], json!({}));
    // What is no file any more is the API's again.
    server
        .operator("PUT", "/v1/cities/paris", json!({"country": "33", "numbers": ["+33199000002"]}))
        .expect(200);
    until(|| Some(()).filter(|()| city("paris").expect(200)["numbers"] == json!(["+33199000002"])));
}

#[test]
fn a_number_moves_from_one_city_file_to_another() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let cities = folder.path().join("cities");
    let file = |city: &str, numbers: &[&str]| {
        write(&cities, &format!("{city}.toml"), &format!("country = \"44\"\nnumbers = {numbers:?}\n"));
    };
    let (first, second, third) = ("+442079460001", "+442079460002", "+442079460003");
    file("london", &[first]);
    file("york", &[second, third]);
    let server = Server::over(Arc::clone(&folder), Calls { connected: true, ..Calls::default() });
    let numbers = |city: &str| {
        server.operator("GET", &format!("/v1/cities/{city}"), Value::Null).expect(200)["numbers"].clone()
    };
    let refused = || server.operator("GET", "/v1/cities", Value::Null).expect(200)["refused_files"].clone();

    // London comes first, and finds the number still taken.
    file("london", &[first, second]);
    file("york", &[third]);
    look(&server);
    assert_eq!((numbers("london"), numbers("york")), (json!([first, second]), json!([third])));
    assert_eq!(refused(), json!({}));

    // Who gives it up may do so much later, and without a file.
    server.operator("PUT", "/v1/cities/bath", plan(&["+442079460009"], json!({}))).expect(201);
    file("london", &[first, second, "+442079460009"]);
    look(&server);
    assert!(refused()["london"].as_str().unwrap().contains("belongs to the city bath"), "{}", refused());
    server.operator("PUT", "/v1/cities/bath", plan(&[], json!({}))).expect(200);
    look(&server);
    assert_eq!((numbers("london"), refused()), (json!([first, second, "+442079460009"]), json!({})));
}
