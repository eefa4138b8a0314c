//! What GPUs did while jobs were trained on them. Only the newest samples are kept, whatever jobs they are of.

use diesel::dsl::max;
use diesel::prelude::*;
use ftl_core::system::{GpuSample, SampleFilter};
use ftl_core::{Page, PageRequest};

use crate::page::{Cut, List};
use crate::rows::gpu_sample::{GpuSampleRow, NewGpuSampleRow};
use crate::schema::{gpu_samples, jobs};
use crate::{Reply, Store};

/// Samples that are kept: at one in five seconds for each GPU, 11 days of training on one; some 20 MB.
pub const MAX_GPU_SAMPLES: u32 = 200_000;

impl Store {
    /// Keeps samples, and forgets the oldest beyond [`MAX_GPU_SAMPLES`]. Samples of jobs that are gone are passed over.
    pub fn append_gpu_samples(&self, samples: Vec<GpuSample>) -> Reply<()> {
        self.append_gpu_samples_of_at_most(MAX_GPU_SAMPLES, samples)
    }

    fn append_gpu_samples_of_at_most(&self, n_kept: u32, samples: Vec<GpuSample>) -> Reply<()> {
        self.write(move |transaction| {
            let connection = &mut *transaction.connection;
            for sample in &samples {
                let found: Option<i64> = jobs::table
                    .filter(jobs::id.eq(sample.job.as_str()))
                    .select(jobs::number)
                    .first(connection)
                    .optional()?;
                if found.is_some() {
                    let row = NewGpuSampleRow::try_from(sample)?;
                    diesel::insert_into(gpu_samples::table).values(&row).execute(connection)?;
                }
            }
            let newest: Option<i64> =
                gpu_samples::table.select(max(gpu_samples::number)).first(connection)?;
            let too_old = newest.unwrap_or(0) - i64::from(n_kept);
            diesel::delete(gpu_samples::table.filter(gpu_samples::number.le(too_old))).execute(connection)?;
            Ok(())
        })
    }

    /// Samples, newest first.
    ///
    /// # Errors
    /// [`StoreError::BadPageToken`](crate::StoreError::BadPageToken).
    pub fn gpu_samples(&self, filter: &SampleFilter, page: &PageRequest) -> Reply<Page<GpuSample>> {
        let cut = match Cut::new(List::GpuSamples, page) {
            Ok(cut) => cut,
            Err(error) => return Reply::ready(Err(error)),
        };
        let SampleFilter { job, from_unix_ms, until_unix_ms } = filter.clone();
        self.read(move |connection| {
            let mut asked = gpu_samples::table
                .filter(gpu_samples::number.lt(cut.before))
                .order(gpu_samples::number.desc())
                .limit(cut.limit())
                .select(GpuSampleRow::as_select())
                .into_boxed();
            if let Some(job) = &job {
                asked = asked.filter(gpu_samples::job.eq(job.as_str()));
            }
            // No time is beyond what a column holds.
            if let Some(from) = from_unix_ms {
                asked = asked.filter(gpu_samples::time_unix_ms.ge(i64::try_from(from).unwrap_or(i64::MAX)));
            }
            if let Some(until) = until_unix_ms {
                asked = asked.filter(gpu_samples::time_unix_ms.lt(i64::try_from(until).unwrap_or(i64::MAX)));
            }
            let rows: Vec<GpuSampleRow> = asked.load(connection)?;
            Ok(cut.page(rows.into_iter().map(GpuSampleRow::numbered).collect::<Result<_, _>>()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use ftl_core::{JobId, JobSpec};

    use super::*;
    use crate::NewJob;

    #[test]
    fn only_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("ftl.db"), |_, _| {}).unwrap();
        let id = JobId::from_bits(1);
        let (name, directory) = ("first".to_owned(), "/jobs/first".into());
        let job = NewJob {
            id: id.clone(),
            name,
            spec: JobSpec::default(),
            directory,
            request_id: None,
            parent: None,
        };
        store.create_job(job).wait().unwrap();
        for time_unix_ms in 1..=20 {
            let sample = GpuSample {
                job: id.clone(),
                time_unix_ms,
                index: 0,
                uuid: "GPU-1".to_owned(),
                memory_total_bytes: 2,
                memory_used_bytes: 1,
                utilization_percent: None,
                temperature_celsius: None,
                power_watts: None,
            };
            store.append_gpu_samples_of_at_most(7, vec![sample]).wait().unwrap();
        }
        let page = PageRequest { page_size: 100, page_token: None };
        let kept = store.gpu_samples(&SampleFilter::default(), &page).wait().unwrap().items;
        let times: Vec<u64> = kept.iter().map(|sample| sample.time_unix_ms).collect();
        assert_eq!(times, [20, 19, 18, 17, 16, 15, 14]);
    }
}
