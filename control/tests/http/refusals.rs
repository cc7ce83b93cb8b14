//! What every route refuses alike, asked as the description says it can be asked.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::contract::Contract;
use crate::server::{Calls, Server, until};

/// A route with a scope, and how to ask it.
struct Asked {
    method: String,
    template: String,
    /// About what is not there.
    path: String,
    scope: String,
    takes_body: bool,
    /// One that is understood.
    body: Value,
    operation: Value,
}

fn guarded(contract: &Contract) -> Vec<Asked> {
    let mut all = Vec::new();
    for (template, methods) in contract.document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(security) = operation["security"][0].as_object() else { continue };
            let body = contract.resolve(&operation["requestBody"]);
            let known = [("{trip}", "T-9"), ("{id}", &Uuid::nil().to_string()), ("{city}", "nowhere")];
            let path = known.iter().fold(template.clone(), |path, (name, value)| path.replace(name, value));
            all.push(Asked {
                method: method.to_ascii_uppercase(),
                path: path.replace("{number}", "+442079460001"),
                template: template.clone(),
                scope: security.keys().next().unwrap().clone(),
                takes_body: body.is_object(),
                body: body["content"]["application/json"]["example"].clone(),
                operation: operation.clone(),
            });
        }
    }
    assert!(all.len() > 25);
    all
}

#[test]
fn what_is_not_understood_or_not_there_is_told_so() {
    let server = Server::start(Calls::default());
    for asked in guarded(Contract::of(&server)) {
        let token = server.token(&asked.scope);
        let send = |path: &str, body: &str| server.send(&asked.method, path, Some(&token), body);
        if let Some((before, after)) = asked.template.split_once('{') {
            let rest = after.split_once('}').unwrap().1.replace("{number}", "+442079460001");
            send(&format!("{before}%ff{rest}"), "").problem(400, "path is not understood");
        }
        if asked.takes_body {
            send(&asked.path, "{").problem(400, "the body is not as expected");
            send(&asked.path, "{\"call_id\":1}").problem(400, "the body is not as expected");
            send(&asked.path, &" ".repeat(5_000)).problem(413, "too large");
        }
        let lists = |parameter: &Value| parameter["$ref"] == "#/components/parameters/Limit";
        if asked.operation["parameters"].as_array().unwrap().iter().any(lists) {
            for query in ["limit=0", "limit=1001", "limit=x", "unknown=1"] {
                send(&format!("{}?{query}&trip=T-1", asked.path), "").problem(400, "");
            }
        }
        if asked.operation["responses"]["404"].is_object() {
            let body = if asked.body.is_null() { String::new() } else { asked.body.to_string() };
            send(&asked.path, &body).problem(404, "there is no");
        }
    }
}

#[test]
fn every_route_keeps_its_tokens_pace() {
    let server = Server::start(Calls::default());
    for asked in guarded(Contract::of(&server)) {
        let wish = json!({"scope": asked.scope, "name": "slow", "requests_per_second": 1});
        let made = server.operator("POST", "/v1/tokens", wish).expect(201);
        let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
        until(|| {
            let reply = server.send(&asked.method, &asked.path, Some(token), "");
            (reply.0 == 429).then(|| reply.problem(429, "faster than its pace"))
        });
        assert_eq!(server.operator("DELETE", &format!("/v1/tokens/{id}"), Value::Null).0, 204);
    }
}

#[test]
fn there_are_so_many_tokens_and_one_that_has_expired_stays_so() {
    let server = Server::start(Calls::default());
    let wish = |more: Value| {
        let mut wish = json!({"scope": "proxy", "name": "many"});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.operator("POST", "/v1/tokens", wish)
    };
    let made = wish(json!({"expires_in": 1})).expect(201);
    let path = format!("/v1/tokens/{}/rotate", made["id"].as_str().unwrap());
    let expired = until(|| Some(server.operator("POST", &path, Value::Null)).filter(|reply| reply.0 == 409));
    assert_eq!(expired.problem(409, "make a new one")["type"], "urn:bauta:problem:token_expired");
    server
        .operator("POST", &path, json!({"keep_seconds": 604_801}))
        .problem(400, "keep_seconds must be from 0");
    // Four first ones, and the one that has expired.
    for _ in 5..256 {
        wish(json!({})).expect(201);
    }
    let many = wish(json!({})).problem(409, "there are 256 tokens already");
    assert_eq!(many["type"], "urn:bauta:problem:too_many_tokens");
}
