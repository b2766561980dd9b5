//! The panels of the main screen (OS-TUI-010 to 022).

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Paragraph, Sparkline},
};
use unicode_width::UnicodeWidthStr as _;

use super::{bytes, cut, panel, span};
use crate::{
    app::App,
    facts::{CloudFacts, NicFacts, Reading, percent, share},
    role::Role,
    words::{self, Word},
};

/// Height of the curves with their frame, where there is room and where there is not.
const CURVES: [u16; 2] = [6, 4];
/// Columns of a label.
const LABEL: usize = 12;
/// From this height of the screen on there is room.
const ROOMY: u16 = 30;

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let height = CURVES[usize::from(area.height < ROOMY)];
    let [upper, curves] = Layout::vertical([Constraint::Fill(1), Constraint::Length(height)]).areas(area);
    if app.role == Role::Compute {
        draw_compute(frame, app, upper);
    } else {
        draw_columns(frame, app, upper);
    }
    draw_curves(frame, app, curves);
}

/// Two columns: the node itself, and what is around it.
fn draw_columns(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let [left, right] = halves(area);
    let node = node_lines(app);
    let [node_area, time_area, disk_area] =
        Layout::vertical([Constraint::Length(framed(node.len())), Constraint::Length(6), Constraint::Fill(1)])
            .areas(left);
    lines(frame, app, node_area, words::NODE_INFO, node);
    lines(frame, app, time_area, words::TIME_INFO, time_lines(app));
    lines(frame, app, disk_area, words::DISK_INFO, disk_lines(app, disk_area));
    if app.role == Role::Storage {
        return draw_nics(frame, app, right);
    }
    let [counts, nics] = Layout::vertical([Constraint::Length(5), Constraint::Fill(1)]).areas(right);
    let [hosts, vms] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(counts);
    let service = app.facts.service.seen();
    let names = [words::TOTAL, words::ENABLED, words::CONNECTED];
    lines(frame, app, hosts, words::HOST_INFO, counted(app, names, service.map(|service| service.hosts)));
    let names = [words::TOTAL, words::VMS_RUNNING, words::VMS_STOPPED];
    lines(frame, app, vms, words::VM_INFO, counted(app, names, service.map(|service| service.vms)));
    draw_nics(frame, app, nics);
}

/// The virtual machines over the whole width: each has a line with its UUID (OS-TUI-020).
fn draw_compute(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let node = node_lines(app);
    let [head, vms, foot] =
        Layout::vertical([Constraint::Length(framed(node.len())), Constraint::Fill(3), Constraint::Fill(2)])
            .areas(area);
    let [node_area, time_area] = halves(head);
    let [disk_area, nic_area] = halves(foot);
    lines(frame, app, node_area, words::NODE_INFO, node);
    lines(frame, app, time_area, words::TIME_INFO, time_lines(app));
    draw_vms(frame, app, vms);
    lines(frame, app, disk_area, words::DISK_INFO, disk_lines(app, disk_area));
    draw_nics(frame, app, nic_area);
}

/// The left one is a bit wider: addresses and sizes stand there.
fn halves(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(21), Constraint::Fill(19)]).areas(area)
}

fn framed(lines: usize) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX).saturating_add(2)
}

fn lines(frame: &mut Frame<'_>, app: &App, area: Rect, title: Word, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines).block(panel(app, title)), area);
}

/// `label: value`.
fn row<'a>(app: &App, label: Word, value: String, style: Style) -> Line<'a> {
    let label = app.say(label);
    let gap = LABEL.saturating_sub(label.width()).max(1);
    Line::from(vec![Span::raw(format!("{label}{}", " ".repeat(gap))), Span::styled(value, style)])
}

fn unknown<'a>(app: &App, label: Word) -> Line<'a> {
    row(app, label, app.say(words::UNKNOWN).to_owned(), Style::new())
}

/// A service: running, or not and why.
fn alive<'a, T>(app: &App, label: Word, reading: &Reading<T>) -> Line<'a> {
    match reading {
        Reading::Unknown => unknown(app, label),
        Reading::Seen(_) => row(app, label, app.say(words::RUNNING).to_owned(), app.look.good()),
        Reading::Missing(_) => row(app, label, app.say(words::NOT_RUNNING).to_owned(), app.look.bad()),
    }
}

fn node_lines<'a>(app: &App) -> Vec<Line<'a>> {
    if app.role != Role::Management {
        return agent_lines(app);
    }
    let mut lines = vec![
        alive(app, words::MANAGEMENT_SERVICE, &app.facts.service),
        // The service serves the web interface: whoever answers for the one answers for the other.
        alive(app, words::WEB_UI, &app.facts.service),
    ];
    if let Some(service) = app.facts.service.seen() {
        lines.push(row(app, words::VERSION, service.version.clone(), Style::new()));
        lines.push(if app.facts.has_address() {
            row(app, words::UI_ADDRESS, service.web_address.clone(), Style::new())
        } else {
            row(app, words::UI_ADDRESS, app.say(words::WITHOUT_ADDRESS).to_owned(), app.look.bad())
        });
        lines.push(row(app, words::LICENCE, service.licence.clone(), Style::new()));
    } else {
        lines.push(row(app, words::VERSION, env!("CARGO_PKG_VERSION").to_owned(), Style::new()));
        lines.push(unknown(app, words::UI_ADDRESS));
        lines.push(unknown(app, words::LICENCE));
    }
    lines
}

fn agent_lines<'a>(app: &App) -> Vec<Line<'a>> {
    if let Some(cloud) = app.facts.without_cloud() {
        return cloudless_lines(app, cloud);
    }
    let mut lines = vec![alive(app, words::AGENT, &app.facts.agent)];
    let Some(agent) = app.facts.agent.seen() else {
        lines.extend([words::VERSION, words::HOST_UUID, words::MANAGEMENT_SEEN].map(|label| unknown(app, label)));
        return lines;
    };
    lines.push(row(app, words::VERSION, agent.version.clone(), Style::new()));
    let host = agent.host.clone().unwrap_or_else(|| app.say(words::NOT_IN_A_CLOUD).to_owned());
    lines.push(row(app, words::HOST_UUID, host, Style::new()));
    let seen = match agent.management_seen {
        Some(ago) => app.fill(words::SEEN_AGO, &[&span(ago)]),
        None => app.say(words::NEVER_SEEN).to_owned(),
    };
    lines.push(row(app, words::MANAGEMENT_SEEN, seen, Style::new()));
    lines
}

/// A node that waits for its cloud: its agent starts when it is in one.
fn cloudless_lines<'a>(app: &App, cloud: &CloudFacts) -> Vec<Line<'a>> {
    let plain = |label, text: String| row(app, label, text, Style::new());
    let join = match &cloud.joining {
        None => plain(words::JOIN_PANEL, app.say(words::JOIN_BY_CODE).to_owned()),
        Some((service, None)) => row(app, words::JOIN_PANEL, app.fill(words::JOINING, &[service]), app.look.care()),
        Some((service, Some(_))) => {
            row(app, words::JOIN_PANEL, app.fill(words::JOIN_FAILED, &[service]), app.look.bad())
        }
    };
    vec![
        row(app, words::AGENT, app.say(words::NOT_IN_A_CLOUD).to_owned(), app.look.care()),
        plain(words::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        join,
        plain(words::ADD_PANEL, app.fill(words::ADD_BY_ADDRESS, &[&own_address(app)])),
    ]
}

fn own_address(app: &App) -> String {
    app.facts.address().map_or_else(|| app.say(words::NO_OWN_ADDRESS).to_owned(), str::to_owned)
}

/// What to do, where there is room for it.
fn cloudless_text<'a>(app: &App, cloud: &CloudFacts, width: usize) -> Vec<Line<'a>> {
    let mut text = vec![
        Line::from(app.say(words::NO_CLOUD)),
        Line::from(app.say(words::NO_CLOUD_CODE)),
        Line::from(app.fill(words::NO_CLOUD_SSH, &[&own_address(app)])),
    ];
    if let Some((_, Some(why))) = &cloud.joining {
        let mut line = String::new();
        for word in why.split_whitespace() {
            if line.width() + word.width() >= width && !line.is_empty() {
                text.push(Line::styled(std::mem::take(&mut line), app.look.bad()));
            }
            let gap = if line.is_empty() { "" } else { " " };
            line = format!("{line}{gap}{word}");
        }
        text.push(Line::styled(line, app.look.bad()));
    }
    text
}

fn time_lines<'a>(app: &App) -> Vec<Line<'a>> {
    let time = &app.facts.time;
    let [one, five, fifteen] = time.load;
    vec![
        row(app, words::STARTED, time.started.clone(), Style::new()),
        row(app, words::NOW, time.now.clone(), Style::new()),
        row(app, words::UPTIME, span(time.uptime), Style::new()),
        row(app, words::LOAD, format!("{one:.2} {five:.2} {fifteen:.2}"), Style::new()),
    ]
}

fn disk_lines<'a>(app: &App, area: Rect) -> Vec<Line<'a>> {
    let width = usize::from(area.width.saturating_sub(2));
    let line = |disk: &crate::facts::DiskFacts| {
        let (text, style) = match &disk.space {
            Reading::Unknown => (app.say(words::UNKNOWN).to_owned(), Style::new()),
            Reading::Missing(why) => (why.clone(), app.look.bad()),
            Reading::Seen((free, whole)) => {
                let low = share(*free, *whole) < 0.1;
                let text = app.fill(words::FREE_OF, &[&bytes(*free), &bytes(*whole)]);
                if low { (format!("! {text}"), app.look.bad()) } else { (text, Style::new()) }
            }
        };
        // The name first: a reason makes sense without its end.
        let name = cut(&disk.folder, width.saturating_sub(20));
        let text = cut(&text, width.saturating_sub(name.width() + 1));
        let gap = " ".repeat(width.saturating_sub(name.width() + text.width()));
        Line::from(vec![Span::raw(format!("{name}{gap}")), Span::styled(text, style)])
    };
    app.facts.disks.iter().map(line).collect()
}

fn counted<'a>(app: &App, names: [Word; 3], values: Option<[u64; 3]>) -> Vec<Line<'a>> {
    let line = |(name, at): (Word, usize)| {
        let value = values.and_then(|values| values.get(at).copied());
        let value = value.map_or_else(|| app.say(words::UNKNOWN).to_owned(), |value| value.to_string());
        let name = app.say(name);
        Line::from(format!("{name}{}{value:>7}", " ".repeat(10_usize.saturating_sub(name.width()).max(1))))
    };
    names.into_iter().zip(0..).map(line).collect()
}

/// As many lines as fit from the first that is scrolled to, and how many there are beyond.
fn fitting<T>(app: &App, items: &[T], height: usize) -> (usize, usize, usize) {
    if items.len() <= height {
        return (0, items.len(), 0);
    }
    let shown = height.saturating_sub(1);
    let first = app.scrolled.min(items.len() - shown);
    (first, first + shown, items.len() - shown)
}

/// OS-TUI-013.
fn draw_nics(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let height = usize::from(area.height.saturating_sub(2));
    let width = usize::from(area.width.saturating_sub(2));
    let text = match &app.facts.nics {
        Reading::Unknown => vec![Line::from(app.say(words::UNKNOWN))],
        Reading::Missing(why) => vec![Line::styled(why.clone(), app.look.bad())],
        Reading::Seen(nics) => {
            let (first, end, more) = fitting(app, nics, height);
            let shown = nics.get(first..end).unwrap_or_default();
            let name = nics.iter().map(|nic| nic.name.width()).max().unwrap_or(0).min(15);
            let mut text: Vec<Line<'_>> = shown.iter().map(|nic| nic_line(app, nic, name, width)).collect();
            if more > 0 {
                text.push(Line::from(app.fill(words::MORE, &[&more.to_string()])));
            }
            text
        }
    };
    lines(frame, app, area, words::NIC_INFO, text);
}

fn nic_line<'a>(app: &App, nic: &NicFacts, name: usize, width: usize) -> Line<'a> {
    let (mark, style) = if nic.up { (words::UP, app.look.good()) } else { (words::DOWN, app.look.bad()) };
    let management = if nic.management { "MN" } else { "" };
    let (mark, addresses) = (app.say(mark), nic.addresses.join(" "));
    let used = name + 9;
    Line::from(vec![
        Span::raw(format!("{:<name$} ", cut(&nic.name, name))),
        Span::styled(format!("{mark:<4} "), style),
        Span::styled(format!("{management:<3}"), app.look.care()),
        Span::raw(cut(&addresses, width.saturating_sub(used))),
    ])
}

/// OS-TUI-020.
fn draw_vms(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let height = usize::from(area.height.saturating_sub(3));
    let width = usize::from(area.width.saturating_sub(2));
    let mut text = Vec::new();
    match &app.facts.agent {
        _ if app.facts.without_cloud().is_some() => {
            text.extend(app.facts.without_cloud().into_iter().flat_map(|cloud| cloudless_text(app, cloud, width)));
        }
        Reading::Unknown => text.push(Line::from(app.say(words::UNKNOWN))),
        Reading::Missing(why) => text.push(Line::styled(why.clone(), app.look.bad())),
        Reading::Seen(agent) if agent.vms.is_empty() => text.push(Line::from(app.say(words::NO_VMS))),
        Reading::Seen(agent) => {
            let uuid = 32;
            let name = width.saturating_sub(uuid + 30).min(40);
            let title = format!(
                "{:<uuid$} {:<name$} {:>4} {:>9} {}",
                "UUID",
                cut(app.say(words::NAME), name),
                app.say(words::CPUS),
                app.say(words::MEMORY),
                app.say(words::STATE)
            );
            text.push(Line::styled(title, app.look.title()));
            let (first, end, more) = fitting(app, &agent.vms, height);
            for vm in agent.vms.get(first..end).unwrap_or_default() {
                text.push(Line::from(format!(
                    "{:<uuid$} {:<name$} {:>4} {:>9} {}",
                    cut(&vm.uuid, uuid),
                    cut(&vm.name, name),
                    vm.cpus,
                    bytes(vm.memory),
                    vm.state
                )));
            }
            if more > 0 {
                text.push(Line::from(app.fill(words::MORE, &[&more.to_string()])));
            }
        }
    }
    lines(frame, app, area, words::VM_LIST, text);
}

/// OS-TUI-016, 017, and what goes over the wires.
fn draw_curves(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let [cpu, memory, network] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
    let facts = &app.facts;
    let processors = facts
        .processor
        .map(|share| app.fill(words::OF_CPUS, &[&format!("{} %", percent(share)), &facts.processors.to_string()]));
    curve(frame, app, cpu, words::CPU_USAGE, processors, app.history.processor.iter(), Some(100));
    let used = facts.memory.map(|memory| {
        let part = percent(share(memory.used, memory.total));
        app.fill(words::OF_MEMORY, &[&format!("{part} %"), &bytes(memory.total)])
    });
    curve(frame, app, memory, words::MEM_USAGE, used, app.history.memory.iter(), Some(100));
    let rates = facts.traffic().map(|(inward, outward)| format!("rx {} tx {} /s", bytes(inward), bytes(outward)));
    curve(frame, app, network, words::NET_USAGE, rates, app.history.network.iter(), None);
}

fn curve<'a>(
    frame: &mut Frame<'_>,
    app: &App,
    area: Rect,
    title: Word,
    value: Option<String>,
    history: impl ExactSizeIterator<Item = &'a u64>,
    most: Option<u64>,
) {
    let block = panel(app, title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [text, line] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    let value = value.unwrap_or_else(|| app.say(words::UNKNOWN).to_owned());
    frame.render_widget(Paragraph::new(value), text);
    // The newest values, at the right.
    let width = usize::from(line.width);
    let skipped = history.len().saturating_sub(width);
    let mut data = vec![0; width.saturating_sub(history.len())];
    data.extend(history.skip(skipped).copied());
    let mut widget = Sparkline::default().data(data).bar_set(app.look.bars()).style(app.look.good());
    if let Some(most) = most {
        widget = widget.max(most);
    }
    frame.render_widget(widget, line);
}
