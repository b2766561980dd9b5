//! From a path to the APIs that live there (PROTOCOL.md section 1): built from the contract, literals beat variables.

use std::collections::HashMap;

use mn_service_types::{Api, contract};

/// Finds APIs by path.
#[derive(Debug, Default)]
pub struct Router {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<&'static str, Node>,
    variable: Option<Box<Node>>,
    here: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    api: &'static Api,
    /// Names of the path variables in order.
    names: Vec<&'static str>,
}

/// APIs at a path, with the texts that stand for the variables.
#[derive(Debug)]
pub struct Found<'r> {
    routes: &'r [Route],
    values: Vec<String>,
}

/// What to do with a request whose path is known.
#[derive(Debug)]
pub enum Choice {
    /// Call this.
    Api(&'static Api, Vec<(String, String)>),
    /// HTTP 400: the body of a PUT names no action; these are possible.
    NoAction(Vec<&'static str>),
    /// HTTP 500: the path exists, not with this method.
    NoMethod,
}

impl Router {
    /// Routes of every API of the contract.
    pub fn new() -> Self {
        let mut router = Self::default();
        for api in contract().apis() {
            // The contract writes `null` where a main path is missing.
            for path in api.paths().filter(|path| path.starts_with('/')) {
                router.add(api, path);
            }
        }
        router
    }

    fn add(&mut self, api: &'static Api, path: &'static str) {
        let mut node = &mut self.root;
        let mut names = Vec::new();
        for segment in path.split('/').filter(|s| !s.is_empty()) {
            node = match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                Some(name) => {
                    names.push(name);
                    node.variable.get_or_insert_default()
                }
                None => node.literals.entry(segment).or_default(),
            };
        }
        node.here.push(Route { api, names });
    }

    /// The APIs at `path` (below `/zstack/v1`, already decoded). Empty segments are ignored.
    pub fn find(&self, path: &str) -> Option<Found<'_>> {
        let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
        let mut values = Vec::new();
        let node = walk(&self.root, &segments, &mut values)?;
        Some(Found { routes: &node.here, values: values.into_iter().map(str::to_owned).collect() })
    }
}

fn walk<'r, 'p>(node: &'r Node, segments: &[&'p str], values: &mut Vec<&'p str>) -> Option<&'r Node> {
    let Some((first, rest)) = segments.split_first() else {
        return (!node.here.is_empty()).then_some(node);
    };
    if let Some(found) = node.literals.get(*first).and_then(|next| walk(next, rest, values)) {
        return Some(found);
    }
    let next = node.variable.as_deref()?;
    values.push(first);
    let found = walk(next, rest, values);
    if found.is_none() {
        values.pop();
    }
    found
}

impl Found<'_> {
    /// Picks the API for `method` and the top-level keys of the body.
    pub fn choose(&self, method: &str, has_key: impl Fn(&str) -> bool) -> Choice {
        // A path of one API alone takes PUT for POST and the reverse: the Go client attaches an EIP with PUT. The
        // reference checks no method at all there, so that a GET of `/primary-storage/{uuid}` deletes it; we do not.
        if let [only] = self.routes {
            let writes = |method: &str| matches!(method, "POST" | "PUT");
            let fits = only.api.method == method || (writes(&only.api.method) && writes(method));
            return if fits { self.call(only) } else { Choice::NoMethod };
        }
        let of_method = || self.routes.iter().filter(|route| route.api.method == method);
        if method == "PUT" {
            let action =
                of_method().find(|r| r.api.action.as_deref().or(r.api.body_key.as_deref()).is_some_and(&has_key));
            if let Some(route) = action {
                return self.call(route);
            }
            let actions: Vec<&'static str> = of_method().filter_map(|route| route.api.action.as_deref()).collect();
            if !actions.is_empty() {
                return Choice::NoAction(actions);
            }
        }
        of_method().next().map_or(Choice::NoMethod, |route| self.call(route))
    }

    fn call(&self, route: &Route) -> Choice {
        let names = route.names.iter().map(|name| (*name).to_owned());
        Choice::Api(route.api, names.zip(self.values.iter().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(method: &str, path: &str, keys: &[&str]) -> String {
        let router = Router::new();
        let Some(found) = router.find(path) else { return "404".to_owned() };
        match found.choose(method, |key| keys.contains(&key)) {
            Choice::Api(api, vars) => {
                let vars: Vec<_> = vars.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} {}", api.name, vars.join(",")).trim_end().to_owned()
            }
            Choice::NoAction(_) => "400".to_owned(),
            Choice::NoMethod => "500".to_owned(),
        }
    }

    #[test]
    fn shared_paths_choose_by_method_and_action() {
        assert_eq!(chosen("POST", "/zones", &["params"]), "CreateZone");
        assert_eq!(chosen("GET", "/zones", &[]), "QueryZone");
        assert_eq!(chosen("GET", "/zones/abc", &[]), "QueryZone uuid=abc");
        assert_eq!(chosen("DELETE", "/zones/abc", &[]), "DeleteZone uuid=abc");
        assert_eq!(chosen("PUT", "/zones/abc/actions", &["changeZoneState"]), "ChangeZoneState uuid=abc");
        assert_eq!(chosen("PUT", "/zones/abc/actions", &["nonsense"]), "400");
    }

    #[test]
    fn literals_beat_variables_and_empty_segments_are_ignored() {
        assert_eq!(chosen("GET", "/vm-instances/nics", &[]), "QueryVmNic");
        assert_eq!(chosen("GET", "//vm-instances//abc", &[]), "QueryVmInstance uuid=abc");
        assert_eq!(chosen("GET", "/no/such/thing", &[]), "404");
    }

    #[test]
    fn a_path_of_one_api_alone_takes_put_for_post_and_nothing_else() {
        assert_eq!(chosen("PUT", "/eips/e/vm-instances/nics/n", &["params"]), "AttachEip eipUuid=e,vmNicUuid=n");
        assert_eq!(chosen("GET", "/primary-storage/p", &[]), "500", "a GET never deletes");
    }

    #[test]
    fn every_api_of_the_contract_is_reachable_by_its_own_method_and_path() {
        let router = Router::new();
        let mut lost = Vec::new();
        for api in contract().apis() {
            for path in api.paths().filter(|path| path.starts_with('/')) {
                let found = router.find(path).expect("its own path");
                let key = api.action.as_deref().or(api.body_key.as_deref()).unwrap_or_default();
                let same = |other: &Api| {
                    other.method == api.method && other.path == api.path && other.body_key == api.body_key
                };
                match found.choose(&api.method, |k| k == key) {
                    Choice::Api(chosen, _) if chosen.name == api.name || same(chosen) => {}
                    other => lost.push(format!("{} {} {path} -> {other:?}", api.name, api.method)),
                }
            }
        }
        assert!(lost.is_empty(), "{} unreachable: {:#?}", lost.len(), &lost[..lost.len().min(20)]);
    }
}
