//! One packet after the other through the kernel and through the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use pinhole_netfilter::script::{Comparer, Difference, Engine, Executor, Observed, Script, Side, Tolerance};
use pinhole_netns::oracle::Kernel;

use super::Args;
use super::answers::Answers;
use super::plan::Plan;
use super::recent::{Recent, Replayed};
use super::report::{Counts, Differing, Report};
use super::source::{Event, Source};
use crate::cmd::conntrack::progress::Progress;

/// The engine draws at random by this, where it is not told what the kernel drew.
const SEED: u64 = 1;
/// How many packets of the flow are shown with a difference.
const CONTEXT: usize = 5;
/// How often somebody who waits for a packet's time looks whether he is to stop.
const PATIENCE: Duration = Duration::from_millis(50);
/// No IP packet is longer, and no device takes one that is (RFC 791, `total length`).
const LONGEST: usize = 65_535;
/// The kernel's namespace is called so.
const NAME: &str = "pinhole-diff";

/// Whether somebody asked to stop.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub(super) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Both routers, and what they did so far.
pub(super) struct Replay<'a> {
    args: &'a Args,
    plan: &'a Plan,
    stop: &'a Stop,
    kernel: Kernel,
    engine: Engine,
    comparer: Comparer,
    start: Instant,
    answers: Answers,
    recent: Recent,
    counts: Counts,
    differences: Vec<Differing>,
    /// What was replayed, if it is to be saved.
    kept: Vec<(Duration, Side, Vec<u8>)>,
    is_over: bool,
}

impl<'a> Replay<'a> {
    /// Makes both routers.
    ///
    /// # Errors
    /// If the engine does not know a rule or setting, or the kernel refuses one.
    pub(super) fn begin(args: &'a Args, plan: &'a Plan, stop: &'a Stop) -> Result<Self> {
        let mut engine = Engine::new(plan.personality, SEED);
        engine.load(&plan.setup).context("the engine cannot be this router")?;
        let mut kernel = Kernel::new(NAME);
        kernel.load(&plan.setup).context("the kernel cannot be this router")?;
        Ok(Self {
            args,
            plan,
            stop,
            kernel,
            engine,
            comparer: Comparer::new(Tolerance::default()),
            start: Instant::now(),
            answers: Answers::default(),
            recent: Recent::default(),
            counts: Counts::default(),
            differences: Vec::new(),
            kept: Vec::new(),
            is_over: false,
        })
    }

    /// Replays all, or as much as was asked for.
    ///
    /// # Errors
    /// If the capture is damaged or the kernel cannot be asked; what was found before stays.
    pub(super) fn run(&mut self, mut source: Source) -> Result<()> {
        let mut progress = Progress::new(!self.args.quiet);
        let ended = self.replay(&mut source, &mut progress);
        progress.end();
        self.counts.not_ip = source.not_ip();
        self.counts.answers_turned = self.answers.changed;
        ended
    }

    fn replay(&mut self, source: &mut Source, progress: &mut Progress) -> Result<()> {
        while !self.is_over && !self.stop.is_asked() && self.args.max.is_none_or(|max| self.counts.replayed < max) {
            match source.next()? {
                None => break,
                Some(Event::Flush) => {
                    self.kernel.flush()?;
                    self.engine.flush()?;
                }
                Some(Event::Age(seconds)) => {
                    self.kernel.age(seconds)?;
                    self.engine.age(seconds)?;
                }
                Some(Event::Packet { at, side, packet }) => self.packet(at, side, packet)?,
            }
            progress.tell(self.counts.packets, source.progress());
        }
        Ok(())
    }

    fn packet(&mut self, at: Duration, side: Option<Side>, mut packet: Vec<u8>) -> Result<()> {
        self.counts.packets += 1;
        let is_captured = side.is_none();
        let Some(side) = side.or_else(|| self.plan.side(&packet)) else {
            self.counts.of_the_router += 1;
            return Ok(());
        };
        if packet.len() > LONGEST {
            self.counts.too_long += 1;
            return Ok(());
        }
        if is_captured && !self.args.as_is && side == Side::Out {
            self.answers.turn_back(&mut packet);
        }
        let at = if is_captured && !self.args.real_time { Duration::ZERO } else { at };
        if !self.wait_until(at) {
            return Ok(());
        }
        // The kernel may be behind a script that does not wait, and the engine's time is the kernel's.
        let now = at.max(self.start.elapsed());
        let kernel = self.kernel.step(at, side, &packet).context("the kernel")?;
        self.engine.follow(&kernel);
        let engine = self.engine.step(now, side, &packet).map_err(|error| anyhow!("the engine: {error}"))?;
        self.counts.count(&kernel, side);
        if let Some(entry) = &kernel.entry {
            self.answers.learn(entry);
        }
        if self.args.save.is_some() && self.differences.is_empty() {
            self.kept.push((at, side, packet.clone()));
        }
        let differences = self.comparer.differences(&kernel, &engine);
        let replayed = Replayed { number: self.counts.packets, at: now, side, packet, kernel };
        if !differences.is_empty() {
            self.differs(&replayed, &engine, &differences);
        }
        self.recent.push(replayed);
        Ok(())
    }

    /// False if somebody asked to stop meanwhile.
    fn wait_until(&self, at: Duration) -> bool {
        while !self.stop.is_asked() {
            let left = at.saturating_sub(self.start.elapsed());
            if left <= PATIENCE {
                return true;
            }
            std::thread::sleep(PATIENCE);
        }
        false
    }

    fn differs(&mut self, replayed: &Replayed, engine: &Observed, differences: &[Difference]) {
        let before = self.recent.of_flow(replayed, engine, CONTEXT);
        let trace = self.trace(replayed.number);
        self.differences.push(Differing::new(replayed, engine, differences, &before, &self.plan.names, trace));
        self.is_over = !self.args.all;
    }

    /// The command that explains packet `number`; none if there is none without saving what was replayed.
    fn trace(&self, number: u64) -> Option<Vec<String>> {
        let words = |words: &[&str]| words.iter().copied().map(str::to_owned).collect::<Vec<_>>();
        let mut command = words(&["pinhole", "conntrack", "trace", "-v"]);
        let number = match (&self.args.script, &self.args.pcap, &self.args.save, &self.plan.as_arguments) {
            (Some(script), ..) => {
                command.extend(["--script".into(), script.display().to_string()]);
                number
            }
            // Only what led to the first difference is saved.
            (None, _, Some(saved), _) if self.differences.is_empty() => {
                command.extend(["--script".into(), saved.display().to_string()]);
                self.counts.replayed
            }
            (None, Some(pcap), None, Some(arguments)) if self.answers.changed == 0 => {
                command.extend(["--pcap".into(), pcap.display().to_string()]);
                command.extend(arguments.iter().cloned());
                number
            }
            _ => return None,
        };
        let of_the_script = self.plan.script.as_ref().map_or(0, |script| script.setup().settings.len());
        let is_saved = self.args.script.is_none() && self.args.save.is_some();
        for (name, value) in self.plan.setup.settings.iter().skip(of_the_script).filter(|_| !is_saved) {
            command.extend(["--set".into(), format!("{name}={value}")]);
        }
        command.extend(["--kernel".into(), self.plan.personality.name.into(), "--only".into(), number.to_string()]);
        Some(command)
    }

    /// What was found.
    pub(super) fn report(&mut self, args: &Args, plan: &Plan) -> Report {
        Report {
            source: args
                .script
                .as_ref()
                .or(args.pcap.as_ref())
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            kernel: plan.kernel.clone(),
            engine: plan.personality.name,
            counts: core::mem::take(&mut self.counts),
            seconds: self.start.elapsed().as_secs_f64(),
            stopped: self.stop.is_asked(),
            differences: core::mem::take(&mut self.differences),
        }
    }

    /// What was replayed, as a script.
    pub(super) fn script(&self, plan: &Plan) -> String {
        Script::of_packets(&plan.setup, self.kept.iter().cloned()).to_string()
    }
}
