//! `GET /v1/openapi.json`: what the API takes and gives (`OpenAPI` 3.1). Open to all: it says nothing that is private.
//!
//! Each route is written by hand in `openapi/*.json`, with the problems that are its own. What all routes have in common
//! is added here, as [`super::frame`], [`super::access`] and [`super::body`] add it to every answer: the scope, the
//! problems of tokens and bodies, the headers. The HTTP tests hold every request and answer against the document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::body::json_text;
use super::problem::Problem;
use crate::token::Scope;

const FRAME: &str = include_str!("openapi/frame.json");
const PROBLEMS: &str = include_str!("openapi/problems.json");
const PARTS: [&str; 6] = [
    include_str!("openapi/trips.json"),
    include_str!("openapi/route.json"),
    include_str!("openapi/recordings.json"),
    include_str!("openapi/cities.json"),
    include_str!("openapi/operate.json"),
    include_str!("openapi/open.json"),
];

/// `components`: kind, name, what it is.
type Components = BTreeMap<String, Map<String, Value>>;
type Paths = BTreeMap<String, BTreeMap<String, Operation>>;

/// The whole document; what is not named here stays as it is written.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    paths: Paths,
    components: Components,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Some routes, and what they share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    paths: Paths,
    #[serde(default)]
    components: Components,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Operation {
    #[serde(rename = "operationId")]
    id: String,
    summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    security: Vec<Value>,
    #[serde(default)]
    parameters: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_body: Option<Value>,
    /// By status.
    responses: BTreeMap<String, Value>,
    /// The `type`s of its own problems; written as responses.
    #[serde(skip_serializing)]
    problems: BTreeSet<String>,
}

/// A type of problem.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    status: u16,
    description: String,
    /// Its answers say when to try again.
    #[serde(default)]
    retry_after: bool,
    /// What its documents hold beside what all do.
    #[serde(default)]
    members: Map<String, Value>,
}

/// The document.
pub(super) async fn read() -> Result<Response, Problem> {
    static TEXT: LazyLock<Result<Bytes, String>> =
        LazyLock::new(|| write().map(Bytes::from).map_err(|error| error.to_string()));
    let broken = |error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the description is broken")
            .because(error)
    };
    Ok(json_text(StatusCode::OK, TEXT.as_ref().map_err(broken)?.clone()))
}

fn write() -> Result<Vec<u8>, serde_json::Error> {
    let mut document: Document = serde_json::from_str(FRAME)?;
    for part in PARTS {
        let Part { paths, components } = serde_json::from_str(part)?;
        document.paths.extend(paths);
        for (kind, named) in components {
            document.components.entry(kind).or_default().extend(named);
        }
    }
    let problems: BTreeMap<String, Kind> = serde_json::from_str(PROBLEMS)?;
    for route in super::routes() {
        let method = route.method.to_ascii_lowercase();
        if let Some(operation) =
            document.paths.get_mut(route.path).and_then(|methods| methods.get_mut(&method))
        {
            operation.complete(route.scope, &problems);
        }
    }
    for response in document.components.entry("responses".into()).or_default().values_mut() {
        add_headers(response);
    }
    for (name, kind) in &problems {
        let mut add = |section: &str, name: String, what| {
            document.components.entry(section.into()).or_default().insert(name, what);
        };
        add("schemas", format!("problem_{name}"), kind.schema(name));
        add("responses", name.clone(), response(&[(name, kind)]));
    }
    serde_json::to_vec(&document)
}

impl Operation {
    /// Adds what follows from its scope, its parameters and its body.
    fn complete(&mut self, scope: Option<Scope>, problems: &BTreeMap<String, Kind>) {
        let mut common = Vec::new();
        if let Some(scope) = scope {
            self.security = vec![json!({ scope.as_str(): [] })];
            common.extend(["unauthorized", "forbidden", "too_many_requests", "internal"]);
        }
        self.tags = vec![scope.map_or("open", Scope::as_str).to_owned()];
        if self.request_body.is_some() {
            common.extend(["invalid_request", "request_timeout", "too_large"]);
        }
        if !self.parameters.is_empty() {
            common.push("invalid_request");
        }
        self.problems.extend(common.into_iter().map(str::to_owned));
        self.parameters.push(json!({ "$ref": "#/components/parameters/RequestId" }));
        self.responses.values_mut().for_each(add_headers);
        let mut by_status: BTreeMap<u16, Vec<(&String, &Kind)>> = BTreeMap::new();
        for name in &self.problems {
            if let Some((name, kind)) = problems.get_key_value(name) {
                by_status.entry(kind.status).or_default().push((name, kind));
            }
        }
        for (status, kinds) in by_status {
            let answer = match kinds.as_slice() {
                [(name, _)] => json!({ "$ref": format!("#/components/responses/{name}") }),
                several => response(several),
            };
            self.responses.insert(status.to_string(), answer);
        }
    }
}

impl Kind {
    /// Its document (RFC 9457).
    fn schema(&self, name: &str) -> Value {
        let mut properties = self.members.clone();
        properties.insert("type".into(), json!({ "const": format!("urn:bauta:problem:{name}") }));
        properties.insert("title".into(), json!({ "const": name.replace('_', " ") }));
        properties.insert("status".into(), json!({ "const": self.status }));
        properties.insert("detail".into(), json!({ "type": "string" }));
        properties.insert("instance".into(), json!({ "type": "string", "pattern": "^urn:bauta:request:" }));
        let required: Vec<&String> = properties.keys().collect();
        json!({
            "description": self.description,
            "type": "object",
            "required": required,
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

/// An answer that is one of these problems, which have one status.
fn response(kinds: &[(&String, &Kind)]) -> Value {
    let schema = |name: &String| json!({ "$ref": format!("#/components/schemas/problem_{name}") });
    let schemas: Vec<Value> = kinds.iter().map(|(name, _)| schema(name)).collect();
    let told: Vec<String> =
        kinds.iter().map(|(name, kind)| format!("`{name}`: {}", kind.description)).collect();
    let mut response = json!({
        "description": told.join(" "),
        "content": { "application/problem+json": { "schema": { "oneOf": schemas } } },
    });
    add_headers(&mut response);
    let is = |status| kinds.iter().any(|(_, kind)| kind.status == status);
    if let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) {
        if is(401) {
            headers
                .insert("WWW-Authenticate".into(), json!({ "$ref": "#/components/headers/WwwAuthenticate" }));
        }
        if is(405) {
            headers.insert("Allow".into(), json!({ "$ref": "#/components/headers/Allow" }));
        }
        if is(416) {
            let all = json!({ "type": "string", "pattern": r"^bytes \*/[0-9]+$" });
            headers.insert("Content-Range".into(), json!({ "required": true, "schema": all }));
        }
        let retry = kinds.iter().filter(|(_, kind)| kind.retry_after).count();
        if retry > 0 {
            let header = json!({
                "description": "Seconds after which trying again is of use.",
                "required": retry == kinds.len(),
                "schema": { "type": "integer", "minimum": 1 },
            });
            headers.insert("Retry-After".into(), header);
        }
    }
    response
}

/// What every answer carries.
fn add_headers(response: &mut Value) {
    if let Some(response) = response.as_object_mut().filter(|response| !response.contains_key("$ref")) {
        let headers = response.entry("headers").or_insert_with(|| json!({}));
        for (name, which) in [("X-Request-Id", "RequestId"), ("Cache-Control", "CacheControl")] {
            headers[name] = json!({ "$ref": format!("#/components/headers/{which}") });
        }
    }
}
