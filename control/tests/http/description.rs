//! `/v1/openapi.json` is true: it has every route and nothing else, is valid, and each of its answers has been seen.

use std::collections::BTreeSet;
use std::process::Command;

use control::http::routes;
use serde_json::{Value, json};

use crate::contract::{Contract, NOTES};
use crate::server::{Calls, Server};

/// Answers that no test asks for: what fails for a time, or after ten seconds, or never.
const NOT_SEEN: [&str; 3] = ["408 request_timeout", "500 internal", "503 store_unavailable"];

#[test]
fn it_has_every_route_with_its_scope_and_nothing_else() {
    let server = Server::start(Calls::default());
    let document = server.send("GET", "/v1/openapi.json", None, "").expect(200);
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            let scopes: Vec<_> = security.iter().flat_map(|one| one.as_object().unwrap().keys()).collect();
            described.insert(format!("{} {path} {scopes:?}", method.to_ascii_uppercase()));
        }
    }
    let scope = |scope: Option<control::token::Scope>| scope.iter().map(|s| s.as_str()).collect::<Vec<_>>();
    let table = routes().into_iter().map(|route| format!("{} {} {:?}", route.method, route.path, scope(route.scope)));
    assert_eq!(described, table.collect());
}

#[test]
fn it_is_openapi_3_1_and_each_schema_compiles() {
    let server = Server::start(Calls::default());
    let contract = Contract::of(&server);
    let rules: Value = serde_json::from_str(include_str!("openapi-3.1.schema.json")).unwrap();
    let rules = jsonschema::options().should_validate_formats(true).build(&rules).unwrap();
    let errors: Vec<_> =
        rules.iter_errors(&contract.document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(errors, Vec::<String>::new());

    let mut schemas = 0;
    walk(&contract.document, &mut |at, value| {
        if value["$ref"].is_string() {
            contract.resolve(value);
        }
        let named = at.starts_with("/components/schemas/") && at.matches('/').count() == 3;
        if (named || at.ends_with("/schema")) && value.is_object() {
            contract.compile(value).unwrap_or_else(|e| panic!("{at}: {e}"));
            schemas += 1;
        }
        for (name, schema) in value["properties"].as_object().into_iter().flatten() {
            assert!(schema.is_object() && !name.is_empty(), "{at}");
        }
    });
    assert!(schemas > 100, "{schemas}");
}

#[test]
fn its_examples_are_as_it_says() {
    let server = Server::start(Calls::default());
    let contract = Contract::of(&server);
    let mut examples = 0;
    walk(&contract.document, &mut |at, value| {
        let several = value["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
        for example in value.get("example").into_iter().chain(several) {
            contract.fits(at, &value["schema"], example).unwrap();
            examples += 1;
        }
    });
    assert!(examples >= 9, "{examples}");
}

/// What was written by hand must not promise what never comes: runs the other tests once more and looks at what came.
#[test]
fn each_of_its_answers_is_seen_in_some_test() {
    let server = Server::start(Calls::default());
    let contract = Contract::of(&server);
    let notes = server.state().join("notes");
    let own = "description::each_of_its_answers_is_seen_in_some_test";
    let run = Command::new(std::env::current_exe().unwrap()).args(["--skip", own]).env(NOTES, &notes).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    let notes = std::fs::read_to_string(notes).unwrap();
    let seen: BTreeSet<&str> = notes.lines().collect();
    let mut missing = Vec::new();
    for (path, methods) in contract.document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                for kind in kinds(contract, contract.resolve(response)) {
                    let answer = format!("{status} {kind}");
                    let line = format!("{} {path} {answer}", method.to_ascii_uppercase());
                    if !NOT_SEEN.contains(&answer.as_str()) && !seen.contains(line.as_str()) {
                        missing.push(line);
                    }
                }
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// The types of problem that an answer may be; `-` for one that is none.
fn kinds(contract: &Contract, response: &Value) -> Vec<String> {
    let problem = &response["content"]["application/problem+json"]["schema"]["oneOf"];
    let Some(schemas) = problem.as_array() else { return vec!["-".into()] };
    let kind = |schema| contract.resolve(schema)["properties"]["type"]["const"].as_str().unwrap();
    let name = |schema| kind(schema).strip_prefix("urn:bauta:problem:").unwrap().to_owned();
    schemas.iter().map(name).collect()
}

/// Calls `each` with everything in `value`, and where it is.
fn walk(value: &Value, each: &mut impl FnMut(&str, &Value)) {
    fn down(at: &str, value: &Value, each: &mut impl FnMut(&str, &Value)) {
        each(at, value);
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| down(&format!("{at}/{name}"), value, each)),
            Value::Array(items) => items.iter().for_each(|item| down(&format!("{at}/-"), item, each)),
            _ => {}
        }
    }
    down("", value, each);
}

#[test]
fn a_description_that_is_not_true_is_found_out() {
    let server = Server::start(Calls::default());
    let contract = Contract::of(&server);
    let party = &contract.document["components"]["schemas"]["Party"];
    let good = json!({"role": "driver", "dial": "+442079460001", "pin": "48213"});
    contract.fits("a party", party, &good).unwrap();
    for (name, value) in [("phone", json!("+447700900001")), ("dial", json!("2079460001")), ("pin", json!(48213))] {
        let mut bad = good.clone();
        bad[name] = value;
        contract.fits("a party", party, &bad).unwrap_err();
    }
}
