//! The tables as diesel sees them, in the order of `diesel print-schema`. INTEGER is `BigInt` here: SQLite's integers
//! have 64 bits, and STRICT tables know no other name for them.

diesel::table! {
    artifacts (job, path) {
        job -> Text,
        path -> Text,
        seq -> BigInt,
        kind -> Text,
        bytes -> BigInt,
        created_unix_ms -> BigInt,
    }
}

diesel::table! {
    attempts (job, number) {
        job -> Text,
        number -> BigInt,
        started_unix_ms -> BigInt,
        ended_unix_ms -> Nullable<BigInt>,
        exit -> Nullable<Text>,
        log_tail -> Nullable<Text>,
    }
}

diesel::table! {
    checkpoints (job, path) {
        job -> Text,
        path -> Text,
        seq -> BigInt,
        attempt -> BigInt,
        step -> BigInt,
        bytes -> BigInt,
        created_unix_ms -> BigInt,
        state -> Text,
        damage -> Nullable<Text>,
        verified_unix_ms -> Nullable<BigInt>,
        eval_loss_nats -> Nullable<Double>,
        pinned -> BigInt,
    }
}

diesel::table! {
    configs (number) {
        number -> BigInt,
        id -> Text,
        name -> Text,
        spec -> Text,
        created_unix_ms -> BigInt,
        updated_unix_ms -> BigInt,
    }
}

diesel::table! {
    dataset_reports (dataset, number) {
        dataset -> Text,
        number -> BigInt,
        summary -> Text,
        settings -> Text,
        report -> Text,
    }
}

diesel::table! {
    datasets (number) {
        number -> BigInt,
        id -> Text,
        name -> Text,
        path -> Text,
        format -> Text,
        n_rows -> BigInt,
        bytes -> BigInt,
        sha256 -> Text,
        created_unix_ms -> BigInt,
        owner -> Text,
        report -> Nullable<Text>,
    }
}

diesel::table! {
    gpu_samples (number) {
        number -> BigInt,
        job -> Text,
        time_unix_ms -> BigInt,
        gpu -> BigInt,
        uuid -> Text,
        memory_total_bytes -> BigInt,
        memory_used_bytes -> BigInt,
        utilization_percent -> Nullable<BigInt>,
        temperature_celsius -> Nullable<BigInt>,
        power_watts -> Nullable<Double>,
    }
}

diesel::table! {
    job_events (job, seq) {
        job -> Text,
        seq -> BigInt,
        attempt -> BigInt,
        attempt_seq -> Nullable<BigInt>,
        time_unix_ms -> BigInt,
        event -> Text,
    }
}

diesel::table! {
    jobs (number) {
        number -> BigInt,
        id -> Text,
        name -> Text,
        state -> Text,
        reason -> Nullable<Text>,
        problems -> Text,
        phase -> Nullable<Text>,
        step -> BigInt,
        total_steps -> Nullable<BigInt>,
        loss_nats -> Nullable<Text>,
        eval_loss_before_nats -> Nullable<Text>,
        eval_loss_nats -> Nullable<Text>,
        n_attempts -> BigInt,
        seq -> BigInt,
        created_unix_ms -> BigInt,
        started_unix_ms -> Nullable<BigInt>,
        ended_unix_ms -> Nullable<BigInt>,
        directory -> Text,
        request_id -> Nullable<Text>,
        spec -> Text,
        queue_order -> BigInt,
        device -> Text,
        waiting -> Nullable<Text>,
        parent_job -> Nullable<Text>,
        parent_step -> Nullable<BigInt>,
    }
}

diesel::table! {
    last_write (only) {
        only -> BigInt,
        mark -> Text,
    }
}

diesel::table! {
    metrics (job, seq) {
        job -> Text,
        seq -> BigInt,
        attempt -> BigInt,
        attempt_seq -> BigInt,
        time_unix_ms -> BigInt,
        kind -> Text,
        step -> BigInt,
        loss_nats -> Nullable<Double>,
        tokens -> BigInt,
        epoch -> Nullable<Double>,
        grad_norm -> Nullable<Double>,
        learning_rate -> Nullable<Double>,
        supervised_tokens -> Nullable<BigInt>,
        samples -> Nullable<BigInt>,
        tokens_per_sec -> Nullable<Double>,
        samples_per_sec -> Nullable<Double>,
        step_millis -> Nullable<Double>,
        data_millis -> Nullable<Double>,
        perplexity -> Nullable<Double>,
        token_accuracy -> Nullable<Double>,
        rewards_chosen -> Nullable<Double>,
        rewards_rejected -> Nullable<Double>,
        reward_margin -> Nullable<Double>,
        reward_accuracy -> Nullable<Double>,
    }
}

diesel::table! {
    models (number) {
        number -> BigInt,
        id -> Text,
        name -> Text,
        path -> Text,
        facts -> Text,
        created_unix_ms -> BigInt,
    }
}

diesel::table! {
    predictions (job, seq) {
        job -> Text,
        seq -> BigInt,
        attempt -> BigInt,
        step -> BigInt,
        time_unix_ms -> BigInt,
        prompt -> Text,
        text -> Text,
        reference -> Nullable<Text>,
    }
}

diesel::table! {
    settings (key) {
        key -> Text,
        value -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(attempts, checkpoints, jobs);
