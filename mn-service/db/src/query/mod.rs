mod condition;
pub use condition::*;
#[derive(Debug,Clone)] pub enum Viewer { Admin, Account(String) }
#[derive(Debug,Clone)] pub struct Query { pub inventory: String, pub conditions: Vec<Condition>, pub limit: u64, pub start: u64, pub count: bool, pub reply_with_count: bool, pub sort: Option<Sort>, pub fields: Vec<String>, pub group_by: Option<String>, pub viewer: Viewer }
pub struct Page { pub inventories: Vec<serde_json::Value>, pub total: Option<u64>, pub schema: serde_json::Map<String, serde_json::Value> }
pub async fn run<C: sea_orm::ConnectionTrait>(_c:&C, _q:&Query)->Result<Page, mn_service_types::ApiError>{ Err(mn_service_types::ApiError::internal("stub")) }
pub async fn load<C: sea_orm::ConnectionTrait>(_c:&C, _i:&str, _u:&str)->Result<Option<serde_json::Value>, mn_service_types::ApiError>{ Err(mn_service_types::ApiError::internal("stub")) }
impl Query { pub fn of(i:&str)->Self{ Query{inventory:i.into(),conditions:vec![],limit:1000,start:0,count:false,reply_with_count:false,sort:None,fields:vec![],group_by:None,viewer:Viewer::Admin} } }
