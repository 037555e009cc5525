//! The shop as plain data: services, the operations that they offer, and whom each asks for help.

use std::time::Duration;

/// A service that makes spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    Web,
    Gateway,
    Catalog,
    Search,
    Cart,
    Recommendation,
    Ads,
    Checkout,
    Payment,
    Inventory,
    Shipping,
    Fraud,
    Accounting,
    Email,
}

/// What a service's resource says of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub name: &'static str,
    pub namespace: &'static str,
    /// Of the SDK.
    pub language: &'static str,
    pub version: &'static str,
    /// The attribute names that semantic conventions had before they became stable.
    pub old_conventions: bool,
}

/// Who runs an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Service(Service),
    /// Makes no spans; known by what its clients say.
    Database {
        name: &'static str,
        system: &'static str,
    },
    /// Of others, likewise.
    Peer(&'static str),
    /// Takes messages, for those who read them later.
    Topic(&'static str),
}

/// How an operation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Http {
        method: &'static str,
        route: &'static str,
    },
    Rpc {
        service: &'static str,
        method: &'static str,
    },
    Query {
        collection: &'static str,
        operation: &'static str,
    },
    Smtp,
    Send,
    /// Messages, some at a time.
    Receive,
    /// By the clock: nobody calls.
    Schedule,
}

/// What a fault of the script hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Slow in the new version.
    Rollout,
    Payment,
    Cache,
    /// The span's name has the id where it should have the route.
    Ids,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub node: Node,
    pub way: Way,
    /// The span's name on the side that runs it; empty where that side makes no span.
    pub name: &'static str,
    /// Own work without that of others: the median.
    pub own_ms: f64,
    /// Sigma of the logarithm.
    pub spread: f64,
    /// Share that fails on a calm day, and share that is refused for a mistake of the caller's.
    pub failing: f64,
    pub refusing: f64,
    pub fault: Option<Fault>,
    pub steps: &'static [Step],
}

/// Whom an operation asks, one after the other.
#[derive(Debug)]
pub(super) enum Step {
    /// Its failure is a failure of the whole.
    Ask(&'static Operation),
    /// Again when it failed, this often at most.
    Try(&'static Operation, u32),
    /// At once; the answer does without those that fail.
    AskAll(&'static [&'static Operation]),
    /// The cache, and what stands behind it on a miss.
    Cached {
        cache: &'static Operation,
        behind: &'static Operation,
    },
    Publish(&'static Operation),
}

/// What somebody wants of the shop.
#[derive(Debug)]
pub(super) struct Journey {
    pub operation: &'static Operation,
    /// Of all journeys.
    pub share: f64,
    /// So many alike traces are made at once, and one of them is sent.
    pub weight: u32,
}

/// Who reads a topic, each all of it.
#[derive(Debug)]
pub(super) struct Reader {
    pub operation: &'static Operation,
    /// How long a message waits on a calm day, and while readers lag.
    pub lag: Duration,
    pub lag_behind: Duration,
}

use Service::{
    Accounting, Ads, Cart, Catalog, Checkout, Email, Fraud as Frauds, Gateway, Inventory, Payment,
    Recommendation, Search, Shipping, Web,
};

impl Service {
    pub(super) fn about(self) -> About {
        let (name, namespace, language, version, old_conventions) = match self {
            Web => ("web", "storefront", "nodejs", "4.2.0", false),
            Gateway => ("gateway", "storefront", "java", "2.9.1", false),
            Catalog => ("catalog", "storefront", "java", "1.14.0", false),
            Search => ("search", "storefront", "python", "0.8.3", true),
            Cart => ("cart", "storefront", "nodejs", "3.0.2", true),
            Recommendation => ("recommendation", "storefront", "python", "0.5.0", false),
            Ads => ("ads", "storefront", "java", "1.1.7", true),
            Checkout => ("checkout", "ordering", "java", "1.0.0", false),
            Payment => ("payment", "ordering", "nodejs", "2.3.0", false),
            Inventory => ("inventory", "ordering", "java", "5.1.0", true),
            Shipping => ("shipping", "ordering", "python", "1.7.4", false),
            Frauds => ("fraud", "backoffice", "python", "0.3.1", false),
            Accounting => ("accounting", "backoffice", "java", "2.0.5", true),
            Email => ("email", "backoffice", "nodejs", "1.2.2", false),
        };
        About { name, namespace, language, version, old_conventions }
    }
}

/// The version of the canary.
pub(super) const CANARY: (Service, &str) = (Checkout, "2.0.0");
/// What nobody's spans name, but the configuration: who calls the shop.
pub(super) const USER: &str = "user";

/// By the steps of the shop's time, the first one at once.
pub(super) const SCHEDULED: (&Operation, u64) = (&RECONCILE, 20);

pub(super) static JOURNEYS: [Journey; 6] = [
    Journey { operation: &HOME, share: 0.25, weight: 1 },
    Journey { operation: &PRODUCT_PAGE, share: 0.25, weight: 1 },
    Journey { operation: &SEARCH_PAGE, share: 0.10, weight: 1 },
    Journey { operation: &SUGGEST, share: 0.16, weight: 4 },
    Journey { operation: &CART_PAGE, share: 0.12, weight: 1 },
    Journey { operation: &CHECKOUT_PAGE, share: 0.12, weight: 1 },
];

pub(super) static READERS: [Reader; 3] = [
    Reader {
        operation: &SCREEN_ORDERS,
        lag: Duration::from_millis(100),
        lag_behind: Duration::from_millis(700),
    },
    Reader {
        operation: &BOOK_ORDERS,
        lag: Duration::from_millis(200),
        lag_behind: Duration::from_millis(800),
    },
    Reader {
        operation: &CONFIRM_ORDERS,
        lag: Duration::from_millis(200),
        lag_behind: Duration::from_millis(600),
    },
];

const CALM: Operation = Operation {
    node: Node::Peer(""),
    way: Way::Schedule,
    name: "",
    own_ms: 1.0,
    spread: 0.4,
    failing: 0.0,
    refusing: 0.0,
    fault: None,
    steps: &[],
};

const fn http(
    service: Service,
    method: &'static str,
    route: &'static str,
    name: &'static str,
) -> Operation {
    Operation { node: Node::Service(service), way: Way::Http { method, route }, name, ..CALM }
}

const fn rpc(
    at: Service,
    service: &'static str,
    method: &'static str,
    name: &'static str,
) -> Operation {
    Operation { node: Node::Service(at), way: Way::Rpc { service, method }, name, ..CALM }
}

const fn query(
    node: Node,
    operation: &'static str,
    collection: &'static str,
    own_ms: f64,
) -> Operation {
    Operation { node, way: Way::Query { collection, operation }, own_ms, spread: 0.5, ..CALM }
}

const CACHE: Node = Node::Database { name: "valkey", system: "redis" };
const CART_STORE: Node = Node::Database { name: "cart-store", system: "redis" };
const CATALOG_DB: Node = Node::Database { name: "catalog-db", system: "postgresql" };
const INVENTORY_DB: Node = Node::Database { name: "inventory-db", system: "postgresql" };
const ACCOUNTING_DB: Node = Node::Database { name: "accounting-db", system: "mysql" };
const INDEX: Node = Node::Database { name: "opensearch", system: "opensearch" };

static HOME: Operation =
    Operation { own_ms: 6.0, steps: &[Step::Ask(&API_HOME)], ..http(Web, "GET", "/", "GET /") };
static PRODUCT_PAGE: Operation = Operation {
    own_ms: 5.0,
    steps: &[Step::Ask(&API_PRODUCT)],
    ..http(Web, "GET", "/products/{id}", "GET /products/{id}")
};
static SEARCH_PAGE: Operation = Operation {
    own_ms: 4.0,
    steps: &[Step::Ask(&API_SEARCH)],
    ..http(Web, "GET", "/search", "GET /search")
};
static CART_PAGE: Operation = Operation {
    own_ms: 4.0,
    steps: &[Step::Ask(&API_CART)],
    ..http(Web, "POST", "/cart", "POST /cart")
};
static CHECKOUT_PAGE: Operation = Operation {
    own_ms: 8.0,
    steps: &[Step::Ask(&API_CHECKOUT)],
    ..http(Web, "POST", "/checkout", "POST /checkout")
};
/// Straight to the service, with every key that is pressed: so often that it is sampled.
static SUGGEST: Operation = Operation {
    own_ms: 1.5,
    steps: &[Step::Ask(&QUERY_INDEX)],
    ..http(Search, "GET", "/suggest", "GET /suggest")
};

/// The fan-out.
static API_HOME: Operation = Operation {
    own_ms: 3.0,
    steps: &[Step::AskAll(&[&LIST_PRODUCTS, &RECOMMEND, &PICK_ADS])],
    ..http(Gateway, "GET", "/api/home", "GET /api/home")
};
static API_PRODUCT: Operation = Operation {
    own_ms: 2.0,
    steps: &[Step::Ask(&GET_PRODUCT), Step::AskAll(&[&PICK_ADS])],
    ..http(Gateway, "GET", "/api/products/{id}", "GET /api/products/{id}")
};
static API_SEARCH: Operation = Operation {
    own_ms: 2.0,
    steps: &[Step::Ask(&FIND)],
    ..http(Gateway, "GET", "/api/search", "GET /api/search")
};
static API_CART: Operation = Operation {
    own_ms: 2.0,
    steps: &[Step::Ask(&ADD_TO_CART)],
    ..http(Gateway, "POST", "/api/cart", "POST /api/cart")
};
static API_CHECKOUT: Operation = Operation {
    own_ms: 3.0,
    steps: &[Step::Ask(&PLACE_ORDER)],
    ..http(Gateway, "POST", "/api/checkout", "POST /api/checkout")
};

static LIST_PRODUCTS: Operation = Operation {
    own_ms: 4.0,
    steps: &[Step::Cached { cache: &GET_FROM_CACHE, behind: &SELECT_PRODUCTS }],
    ..http(Catalog, "GET", "/products", "GET /products")
};
static GET_PRODUCT: Operation = Operation {
    own_ms: 3.0,
    refusing: 0.01,
    fault: Some(Fault::Ids),
    steps: &[Step::Cached { cache: &GET_FROM_CACHE, behind: &SELECT_PRODUCTS }],
    ..http(Catalog, "GET", "/products/{id}", "GET /products/{id}")
};
static RECOMMEND: Operation = Operation {
    own_ms: 18.0,
    spread: 0.6,
    failing: 0.005,
    steps: &[Step::Ask(&LIST_PRODUCTS)],
    ..rpc(Recommendation, "shop.Recommendation", "List", "shop.Recommendation/List")
};
static PICK_ADS: Operation =
    Operation { own_ms: 5.0, spread: 0.7, ..rpc(Ads, "shop.Ads", "Pick", "shop.Ads/Pick") };
static FIND: Operation = Operation {
    own_ms: 6.0,
    steps: &[Step::Ask(&QUERY_INDEX)],
    ..http(Search, "GET", "/find", "GET /find")
};
static ADD_TO_CART: Operation = Operation {
    own_ms: 3.0,
    steps: &[Step::Ask(&SET_ITEM)],
    ..http(Cart, "POST", "/items", "POST /items")
};
static READ_CART: Operation = Operation {
    own_ms: 2.0,
    steps: &[Step::Ask(&READ_ITEMS)],
    ..http(Cart, "GET", "/items", "GET /items")
};
static PLACE_ORDER: Operation = Operation {
    own_ms: 60.0,
    spread: 0.3,
    fault: Some(Fault::Rollout),
    steps: &[
        Step::Ask(&READ_CART),
        Step::Ask(&RESERVE),
        Step::Ask(&CHARGE),
        Step::Ask(&SHIP),
        Step::Publish(&PUBLISH_ORDER),
    ],
    ..rpc(Checkout, "shop.Checkout", "PlaceOrder", "shop.Checkout/PlaceOrder")
};
static CHARGE: Operation = Operation {
    own_ms: 9.0,
    failing: 0.002,
    refusing: 0.01,
    fault: Some(Fault::Payment),
    steps: &[Step::Ask(&AUTHORIZE)],
    ..rpc(Payment, "shop.Payment", "Charge", "shop.Payment/Charge")
};
static RESERVE: Operation = Operation {
    own_ms: 5.0,
    steps: &[Step::Ask(&UPDATE_STOCK)],
    ..http(Inventory, "POST", "/reserve", "POST /reserve")
};
/// The retry path.
static SHIP: Operation = Operation {
    own_ms: 7.0,
    steps: &[Step::Try(&QUOTE, 3)],
    ..http(Shipping, "POST", "/shipments", "POST /shipments")
};

static AUTHORIZE: Operation = Operation {
    node: Node::Peer("card-network"),
    way: Way::Http { method: "POST", route: "/authorize" },
    own_ms: 45.0,
    spread: 0.5,
    ..CALM
};
static QUOTE: Operation = Operation {
    node: Node::Peer("carrier"),
    way: Way::Http { method: "GET", route: "/quote" },
    own_ms: 30.0,
    spread: 0.6,
    failing: 0.02,
    ..CALM
};
static SMTP: Operation =
    Operation { node: Node::Peer("smtp-relay"), way: Way::Smtp, own_ms: 25.0, ..CALM };

static GET_FROM_CACHE: Operation =
    Operation { fault: Some(Fault::Cache), ..query(CACHE, "GET", "products", 0.5) };
static READ_ITEMS: Operation = query(CART_STORE, "HGETALL", "carts", 0.6);
static SET_ITEM: Operation = query(CART_STORE, "HSET", "carts", 0.6);
static SELECT_PRODUCTS: Operation = query(CATALOG_DB, "SELECT", "products", 14.0);
static UPDATE_STOCK: Operation = query(INVENTORY_DB, "UPDATE", "stock", 6.0);
static INSERT_ENTRIES: Operation = query(ACCOUNTING_DB, "INSERT", "entries", 5.0);
static SUM_ENTRIES: Operation = query(ACCOUNTING_DB, "SELECT", "entries", 80.0);
static QUERY_INDEX: Operation = query(INDEX, "search", "products", 12.0);

static PUBLISH_ORDER: Operation =
    Operation { node: Node::Topic("orders"), way: Way::Send, own_ms: 1.2, ..CALM };
static SCREEN_ORDERS: Operation = receive(Frauds, 15.0, 0.0, &[]);
static BOOK_ORDERS: Operation = receive(Accounting, 4.0, 0.0, &[Step::Ask(&INSERT_ENTRIES)]);
static CONFIRM_ORDERS: Operation = receive(Email, 3.0, 0.001, &[Step::Ask(&SMTP)]);

const fn receive(service: Service, own_ms: f64, failing: f64, steps: &'static [Step]) -> Operation {
    let node = Node::Service(service);
    Operation { node, way: Way::Receive, name: "process orders", own_ms, failing, steps, ..CALM }
}

static RECONCILE: Operation = Operation {
    node: Node::Service(Accounting),
    way: Way::Schedule,
    name: "reconcile",
    own_ms: 20.0,
    steps: &[Step::Ask(&SUM_ENTRIES)],
    ..CALM
};

/// The calling side's name of the span.
pub(super) fn calling_name(caller: Service, operation: &Operation) -> String {
    match operation.way {
        Way::Http { method, .. } if caller.about().old_conventions => format!("HTTP {method}"),
        Way::Http { method, .. } => method.to_owned(),
        Way::Rpc { service, method } => format!("{service}/{method}"),
        Way::Query { operation, collection } => format!("{operation} {collection}"),
        Way::Smtp => "SMTP send".to_owned(),
        Way::Send | Way::Receive | Way::Schedule => "send orders".to_owned(),
    }
}
