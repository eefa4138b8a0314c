//! The losses of a run as points to draw: bounded in number, whatever the run's length.

/// Points that are kept. Twice the dots of the widest terminal; beyond it neighbours become one.
const MAX_POINTS: usize = 2_048;

/// Losses by step.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Values that each point is the mean of; the last may have fewer.
    values_per_point: u32,
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    first_step: u64,
    last_step: u64,
    sum: f64,
    n_values: u32,
}

impl Default for Curve {
    fn default() -> Self {
        Self { values_per_point: 1, points: Vec::new() }
    }
}

impl Curve {
    /// Takes a loss in. A step that was there before, or is earlier, replaces what comes after it: a resumed run goes
    /// on from a checkpoint. A loss that is no number has no place on a curve.
    pub fn take(&mut self, step: u64, loss_nats: f64) {
        while self.points.last().is_some_and(|last| last.first_step >= step) {
            self.points.pop();
        }
        if !loss_nats.is_finite() {
            return;
        }
        match self.points.last_mut() {
            Some(last) if last.n_values < self.values_per_point => {
                last.last_step = step;
                last.sum += loss_nats;
                last.n_values += 1;
            }
            Some(_) | None => {
                self.points.push(Point { first_step: step, last_step: step, sum: loss_nats, n_values: 1 });
            }
        }
        if self.points.len() > MAX_POINTS {
            self.halve();
        }
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The points as (middle step, mean loss), at most `n_most` of them.
    pub fn points(&self, n_most: usize) -> Vec<(f64, f64)> {
        let n_together = self.points.len().div_ceil(n_most.max(1)).max(1);
        self.points.chunks(n_together).map(|chunk| middle(&joined(chunk))).collect()
    }

    fn halve(&mut self) {
        self.points = self.points.chunks(2).map(joined).collect();
        self.values_per_point *= 2;
    }
}

fn joined(points: &[Point]) -> Point {
    let mut all = points[0];
    for Point { first_step: _, last_step, sum, n_values } in &points[1..] {
        all.last_step = *last_step;
        all.sum += sum;
        all.n_values += n_values;
    }
    all
}

fn middle(point: &Point) -> (f64, f64) {
    let Point { first_step, last_step, sum, n_values } = *point;
    ((first_step + last_step) as f64 / 2.0, sum / f64::from(n_values))
}
