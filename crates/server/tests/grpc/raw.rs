//! Calls by the name of a method, with messages of one text field or none: what any gRPC client could send.

use ftl_client::wire::FILE_DESCRIPTOR_SET;
use http::uri::PathAndQuery;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// A message whose first field is a text; without it, the empty message of any type.
#[derive(Clone, PartialEq, Message)]
pub struct Text {
    #[prost(string, optional, tag = "1")]
    pub text: Option<String>,
}

/// A method with its path and the name of its request.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    pub path: String,
    /// Whether the first field of its request is a text.
    pub takes_text: bool,
}

/// Every method of `ftl.v1`.
pub fn methods() -> Vec<Method> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("it was generated").file;
    let messages: Vec<_> = files.iter().flat_map(|file| &file.message_type).collect();
    let takes_text = |name: &str| {
        let name = name.rsplit('.').next().unwrap_or(name);
        let message = messages.iter().find(|message| message.name() == name).expect("of the same set");
        message.field.iter().any(|field| {
            field.number() == 1
                && field.r#type() == prost_types::field_descriptor_proto::Type::String
                && field.label() != prost_types::field_descriptor_proto::Label::Repeated
        })
    };
    let mut methods = Vec::new();
    for file in &files {
        for service in &file.service {
            for method in &service.method {
                methods.push(Method {
                    path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                    takes_text: takes_text(method.input_type()),
                });
            }
        }
    }
    methods
}

/// Every method of `ftl.v1`, and those of health and reflection.
pub fn all_paths() -> Vec<String> {
    let others = [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        // What is not there is not said to whoever may not know.
        "/ftl.v1.JobService/NoSuchMethod",
        "/no.such.Service/Method",
    ];
    methods().into_iter().map(|method| method.path).chain(others.map(str::to_owned)).collect()
}

/// Calls a method and waits for its first message, or its end.
pub async fn call(
    channel: &Channel,
    path: &str,
    text: Option<&str>,
    metadata: MetadataMap,
) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let message = Text { text: text.map(str::to_owned) };
    let request = Request::from_parts(metadata, tonic::Extensions::new(), message);
    let path: PathAndQuery = path.parse().expect("a path");
    let codec: ProstCodec<Text, ()> = ProstCodec::default();
    let mut answers = grpc.server_streaming(request, path, codec).await?.into_inner();
    answers.message().await.map(|_| ())
}
