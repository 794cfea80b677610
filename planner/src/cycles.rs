//! Finds stages that need themselves, through bases and `COPY --from`.

use rbuild_parser::span::Span;

use crate::findings::Findings;
use crate::messages;
use crate::stages::Stages;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnPath,
    Done,
}

struct Visit {
    stage: usize,
    /// What it needs and has not been followed yet.
    needs: Vec<(usize, Span)>,
    /// The place of the need that is being followed.
    following: Span,
}

/// Reports every circle, reachable or not.
pub(crate) fn check(stages: &Stages<'_>, findings: &mut Findings) {
    let mut marks = vec![Mark::New; stages.nodes.len()];
    for start in 0..stages.nodes.len() {
        if marks[start] == Mark::New {
            walk(stages, start, &mut marks, findings);
        }
    }
}

/// Walks in depth from `start`, with a stack of its own: files with many stages are no reason to
/// run out of the program's.
fn walk(stages: &Stages<'_>, start: usize, marks: &mut [Mark], findings: &mut Findings) {
    let visit = |stage: usize| {
        let mut needs: Vec<_> = stages.needs_of(stage).collect();
        needs.reverse();
        Visit {
            stage,
            needs,
            following: Span::default(),
        }
    };
    marks[start] = Mark::OnPath;
    let mut path = vec![visit(start)];
    while let Some(top) = path.last_mut() {
        let Some((stage, span)) = top.needs.pop() else {
            marks[top.stage] = Mark::Done;
            path.pop();
            continue;
        };
        top.following = span;
        match marks[stage] {
            Mark::Done => {}
            Mark::New => {
                marks[stage] = Mark::OnPath;
                path.push(visit(stage));
            }
            Mark::OnPath => {
                let circle = path.iter().skip_while(|visit| visit.stage != stage);
                let places: Vec<_> = circle.map(|visit| visit.following).collect();
                findings.report(messages::circular(&stages.nodes[stage].label, &places));
            }
        }
    }
}
