//! Holds every request and every answer of these tests against `/v1/openapi.json`, and notes which answers came.
//!
//! An answer that is not described, or is not as it is described, fails the test that got it. So does a request that
//! was served and does not fit, and one that fits and was refused for its form.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::server::{Reply, Server};

/// Where [`Contract::exchange`] notes what came, one `METHOD PATH STATUS TYPE` a line, when it is set.
pub const NOTES: &str = "BAUTA_HTTP_NOTES";

/// The description, with what was compiled of it.
pub struct Contract {
    pub document: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// What a test sent.
pub struct Sent<'a> {
    pub method: &'a str,
    /// With the query.
    pub path: &'a str,
    pub body: &'a str,
}

/// A route of the description.
struct Operation<'a> {
    /// `POST /v1/trips`.
    name: String,
    description: &'a Value,
    /// The path's parameters as they were sent.
    given: Vec<(&'a str, &'a str)>,
}

impl Contract {
    /// The description that `server` gives; read once in this process.
    pub fn of(server: &Server) -> &'static Self {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| {
            let reply = server.unchecked("GET", "/v1/openapi.json", &[], "");
            Self { document: reply.expect(200), validators: Mutex::default() }
        })
    }

    /// What a reference leads to; anything else is itself.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(to) => {
                let to = to.strip_prefix('#').expect("references stay in the document");
                self.document.pointer(to).unwrap_or_else(|| panic!("{to} leads nowhere"))
            }
            None => value,
        }
    }

    /// Compares one exchange.
    pub fn exchange(&self, sent: &Sent<'_>, reply: &Reply) {
        let shown: String = reply.1.chars().take(1_000).collect();
        let about = format!("{} {} {}: {shown}", sent.method, sent.path, reply.0);
        // Route decisions hold one; the description has those of its examples.
        if !["/v1/route", "/v1/openapi.json"].contains(&sent.path) {
            assert!(!reply.1.contains("7700900"), "a party's number left: {about}");
        }
        let (path, query) = sent.path.split_once('?').unwrap_or((sent.path, ""));
        let status = reply.0.to_string();
        let Some(operation) = self.operation(sent.method, path, reply.0) else {
            let other = if reply.0 == 405 { "method_not_allowed" } else { "not_found" };
            let described = &self.document["components"]["responses"][other];
            return self.answer(other, described, sent, reply).unwrap_or_else(|e| panic!("{e}: {about}"));
        };
        let described = &operation.description["responses"][&status];
        assert!(described.is_object(), "the status is not described: {about}");
        let name = format!("{} {status}", operation.name);
        self.answer(&name, self.resolve(described), sent, reply).unwrap_or_else(|e| panic!("{e}: {about}"));
        let fits = self.request(&operation, query, sent.body);
        if reply.0 < 300 {
            fits.unwrap_or_else(|e| panic!("a request was served that does not fit, {e}: {}; {about}", sent.body));
        } else if reply.1.contains("the body is not as expected") || reply.1.contains("deserialize query") {
            assert!(fits.is_err(), "a request that fits was refused for its form: {}; {about}", sent.body);
        }
        note(&operation.name, reply);
    }

    fn operation<'a>(&'a self, method: &str, path: &'a str, status: u16) -> Option<Operation<'a>> {
        let method = if method == "HEAD" { "GET" } else { method };
        for (template, methods) in self.document["paths"].as_object().unwrap() {
            let (wanted, given) = (template.split('/'), path.split('/'));
            let pairs: Vec<_> = wanted.clone().zip(given.clone()).collect();
            let same = |(wanted, given): &(&str, &str)| {
                wanted == given || (wanted.starts_with('{') && !given.is_empty())
            };
            if wanted.count() == given.count() && pairs.iter().all(same) {
                let description = methods.get(method.to_ascii_lowercase());
                assert_eq!(description.is_none(), status == 405, "{method} {template}");
                let given = pairs.into_iter().filter_map(|(wanted, given)| {
                    Some((wanted.strip_prefix('{')?.strip_suffix('}')?, given))
                });
                let name = format!("{method} {template}");
                return Some(Operation { name, description: description?, given: given.collect() });
            }
        }
        assert_eq!(status, 404, "{method} {path} is not described");
        None
    }

    fn answer(&self, name: &str, described: &Value, sent: &Sent<'_>, reply: &Reply) -> Result<(), String> {
        for (header, described) in described["headers"].as_object().unwrap() {
            let described = self.resolve(described);
            match reply.header(header) {
                "" if described["required"] == true => return Err(format!("{header} is missing")),
                "" => {}
                text => self.fits(&format!("{name} {header}"), &described["schema"], &typed(text))?,
            }
        }
        let Some(content) = described["content"].as_object() else {
            return if reply.1.is_empty() { Ok(()) } else { Err("there is a body".into()) };
        };
        let media = reply.header("content-type").split(';').next().unwrap_or_default();
        let described = content.get(media).ok_or_else(|| format!("{media} is not described"))?;
        if sent.method == "HEAD" || !media.ends_with("json") {
            return Ok(());
        }
        let body = serde_json::from_str(&reply.1).map_err(|e| e.to_string())?;
        self.fits(&format!("{name} body"), &described["schema"], &body)
    }

    fn request(&self, operation: &Operation<'_>, query: &str, body: &str) -> Result<(), String> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query: Vec<_> = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        let mut known = Vec::new();
        for parameter in operation.description["parameters"].as_array().unwrap() {
            let parameter = self.resolve(parameter);
            let name = parameter["name"].as_str().unwrap();
            let given = match parameter["in"].as_str() {
                Some("path") => &operation.given,
                Some("query") => &query,
                _ => continue,
            };
            known.push(name);
            let value = given.iter().find(|(given, _)| *given == name);
            match value {
                Some((_, text)) => self.fits(&format!("{} {name}", operation.name), &parameter["schema"], &typed(text))?,
                None if parameter["required"] == true => return Err(format!("{name} is missing")),
                None => {}
            }
        }
        if let Some((name, _)) = query.iter().find(|(name, _)| !known.contains(name)) {
            return Err(format!("{name} is not described"));
        }
        let described = self.resolve(&operation.description["requestBody"]);
        match (described.is_object(), body) {
            (true, "") if described["required"] == false => Ok(()),
            (false, "") => Ok(()),
            (false, _) => Err("no body is described".into()),
            (true, body) => {
                let body = serde_json::from_str(body).map_err(|e| e.to_string())?;
                let schema = &described["content"]["application/json"]["schema"];
                self.fits(&format!("{} request", operation.name), schema, &body)
            }
        }
    }

    /// Whether `value` is as `schema` says, which is known as `name`.
    pub fn fits(&self, name: &str, schema: &Value, value: &Value) -> Result<(), String> {
        let known = self.validators.lock().unwrap().get(name).cloned();
        let validator = known.unwrap_or_else(|| {
            let compiled = Arc::new(self.compile(schema).unwrap_or_else(|e| panic!("{name}: {e}")));
            self.validators.lock().unwrap().insert(name.to_owned(), Arc::clone(&compiled));
            compiled
        });
        let errors: Vec<_> = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        if errors.is_empty() { Ok(()) } else { Err(format!("{name} {}", errors.join("; "))) }
    }

    pub fn compile(&self, schema: &Value) -> Result<Validator, String> {
        let mut whole = schema.clone();
        let members = whole.as_object_mut().ok_or("a schema is no object")?;
        members.insert("components".into(), self.document["components"].clone());
        members.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        jsonschema::options().should_validate_formats(true).build(&whole).map_err(|e| e.to_string())
    }
}

/// A header's or parameter's text, as what it looks like.
fn typed(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number))
}

fn note(operation: &str, reply: &Reply) {
    let Ok(path) = std::env::var(NOTES) else { return };
    let body: Value = serde_json::from_str(&reply.1).unwrap_or_default();
    let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:bauta:problem:")).unwrap_or("-");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    // In one piece: other tests write too.
    file.write_all(format!("{operation} {} {kind}\n", reply.0).as_bytes()).unwrap();
}
