//! Whose XDP program an interface has already. At start, where ours is refused.

use std::io::Read;

use aya::programs::loaded_programs;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use socket2::{Domain, Protocol, Socket, Type};

/// Room for what the kernel says of an interface: some 1.5 KiB, more for each virtual function of a network card.
const ROOM: usize = 1 << 16;

/// The program on `interface`: its name, and the number by which `bpftool prog show id` finds it. Without `CAP_SYS_ADMIN` the
/// kernel gives the number alone. None where there is none, or the kernel does not say.
pub fn of(interface: &str) -> Option<String> {
    let id = program_on(interface)?;
    let mut programs = loaded_programs().map_while(Result::ok);
    let program = programs.find(|program| program.id() == id);
    let name = program.as_ref().and_then(|program| program.name_as_str()).filter(|name| !name.is_empty());
    Some(name.map_or_else(|| format!("id {id}"), |name| format!("\"{name}\", id {id}")))
}

/// The program's number (rtnetlink's `IFLA_XDP`, `linux/if_link.h`).
fn program_on(interface: &str) -> Option<u32> {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(interface.to_owned()));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetLink(link)));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    // NETLINK_ROUTE is protocol 0.
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(0))).ok()?;
    socket.send(&bytes).ok()?;
    let mut reply = vec![0; ROOM];
    let length = socket.read(&mut reply).ok()?;
    let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(reply.get(..length)?).ok()?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = reply.payload else { return None };
    let about = link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(about) => Some(about),
        _ => None,
    })?;
    about.into_iter().find_map(|about| match about {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            Some(id)
        }
        _ => None,
    })
}
