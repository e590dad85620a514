//! Makes an end of a veth pair one that takes frames from the other end's driver, for `cargo xtask bench stun`.
//!
//! `stun_bench_end INTERFACE`: a program that lets everything through is at the interface until this ends. Without one, what an
//! XDP program at the other end sends never arrives.

use std::error::Error;

use pinhole_host::bpf::{Assembler, AttachMode, Program, Reg, XdpLink, action};
use pinhole_host::netlink::route;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("stun_bench_end INTERFACE")?;
    let mut code = Assembler::new();
    code.mov(Reg::R0, action::PASS).exit();
    let program = Program::load("pass", &code.finish())?;
    let index = route::link::find(&mut route::open()?, &name)?.index;
    let _link = XdpLink::attach(&program, index, AttachMode::Native)?;
    println!("attached");
    loop {
        std::thread::park();
    }
}
