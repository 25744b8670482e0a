//! meganeura on Vulkan or Metal; see ../README.md.
use std::cell::RefCell;

use meganeura::{Graph, Mode, NodeId, Session, SessionConfig, build};

#[allow(dead_code, reason = "each peer takes its part of it")]
#[path = "../../common.rs"]
mod common;
use common::{CHANNELS, Case, GROUPS, SIZE, WEIGHT_SCALE, WEIGHT_SEEDS, ends, fill, measure, norm};

/// The block's parameters in the order of the graph: a name, its seed, its size.
fn parameters() -> [(&'static str, u32, usize); 4] {
    let [first, second] = WEIGHT_SEEDS;
    let weight = CHANNELS * CHANNELS * 9;
    [("w1", first, weight), ("b1", first + 1, CHANNELS), ("w2", second, weight), ("b2", second + 1, CHANNELS)]
}

fn block(g: &mut Graph, x: NodeId, batch: usize) -> NodeId {
    let [w1, b1, w2, b2] = parameters().map(|(name, _, len)| g.parameter(name, &[len]));
    let (scale, shift) = (g.parameter("scale", &[CHANNELS]), g.parameter("shift", &[CHANNELS]));
    let (batch, channels, size, area) = (batch as u32, CHANNELS as u32, SIZE as u32, (SIZE * SIZE) as u32);
    let convolve = |g: &mut Graph, x, weight, bias| {
        let y = g.conv2d(x, weight, batch, channels, size, size, channels, 3, 3, 1, 1);
        g.add_per_channel(y, bias, channels, area)
    };
    let h = convolve(g, x, w1, b1);
    let h = g.group_norm(h, scale, shift, batch, channels, area, GROUPS as u32, 1e-5);
    let h = g.silu(h);
    convolve(g, h, w2, b2)
}

fn session(graph: &Graph, mode: Mode) -> Session {
    let session = build(graph, SessionConfig { mode, ..SessionConfig::from_env() }).0;
    let information = session.device_information();
    eprintln!("{} ({} {})", information.device_name, information.driver_name, information.driver_info);
    session
}

fn step(session: &RefCell<Session>) {
    let mut session = session.borrow_mut();
    session.step();
    session.wait();
}

fn set_parameters(session: &mut Session) {
    for (name, seed, len) in parameters() {
        session.set_parameter(name, &fill(seed, len, WEIGHT_SCALE));
    }
    session.set_parameter("scale", &[1.0; CHANNELS]);
    session.set_parameter("shift", &[0.0; CHANNELS]);
}

/// Times a session whose one output has `len` elements.
fn forward(name: &str, seconds: f64, session: Session, len: usize) {
    let session = RefCell::new(session);
    measure(name, seconds, || step(&session), |()| ends(&session.borrow().read_output(len)));
}

fn main() {
    let arguments = common::arguments();
    for name in &arguments.cases {
        let seconds = arguments.seconds;
        let mut g = Graph::new();
        match common::case(name) {
            Some(Case::Matmul { size }) => {
                let (a, b) = (g.input("a", &[size, size]), g.parameter("b", &[size, size]));
                let c = g.matmul(a, b);
                g.set_outputs(vec![c]);
                let mut session = session(&g, Mode::Inference);
                session.set_input("a", &fill(1, size * size, 2.0));
                session.set_parameter("b", &fill(2, size * size, 2.0));
                forward(name, seconds, session, size * size);
            }
            Some(Case::Convolution { batch, inputs, outputs, height, width }) => {
                let (len, weights) = (batch * inputs * height * width, outputs * inputs * 9);
                let (x, w) = (g.input("x", &[len]), g.parameter("w", &[weights]));
                let [b, i, h, w_, o] = [batch, inputs, height, width, outputs].map(|size| size as u32);
                let y = g.conv2d(x, w, b, i, h, w_, o, 3, 3, 1, 1);
                g.set_outputs(vec![y]);
                let mut session = session(&g, Mode::Inference);
                session.set_input("x", &fill(1, len, 2.0));
                session.set_parameter("w", &fill(2, weights, common::convolution_scale(inputs)));
                forward(name, seconds, session, batch * outputs * height * width);
            }
            Some(Case::BlockForward { batch }) => {
                let len = batch * CHANNELS * SIZE * SIZE;
                let x = g.input("x", &[len]);
                let y = block(&mut g, x, batch);
                g.set_outputs(vec![y]);
                let mut session = session(&g, Mode::Inference);
                set_parameters(&mut session);
                session.set_input("x", &fill(1, len, 2.0));
                forward(name, seconds, session, len);
            }
            Some(Case::BlockTrain { batch }) => {
                let len = batch * CHANNELS * SIZE * SIZE;
                // A parameter, so that its gradient is computed as well. No optimiser is set.
                let x = g.parameter("x", &[len]);
                let y = block(&mut g, x, batch);
                let square = g.mul(y, y);
                let loss = g.mean_all(square);
                g.set_outputs(vec![loss]);
                let mut session = session(&g, Mode::Training);
                set_parameters(&mut session);
                session.set_parameter("x", &fill(1, len, 2.0));
                let session = RefCell::new(session);
                measure(
                    name,
                    seconds,
                    || step(&session),
                    |()| {
                        let session = session.borrow();
                        let gradient = |name, len| {
                            let mut gradient = vec![0.0; len];
                            session.read_param_grad(name, &mut gradient);
                            norm(&gradient)
                        };
                        let weights = CHANNELS * CHANNELS * 9;
                        let norms = [("x", len), ("w1", weights), ("w2", weights), ("scale", CHANNELS)];
                        [vec![session.read_loss().into()], norms.map(|(name, len)| gradient(name, len)).to_vec()]
                            .concat()
                    },
                );
            }
            None => {}
        }
    }
}
