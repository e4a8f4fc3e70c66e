//! Tests of the command line.

use std::{collections::BTreeSet, path::PathBuf};

use super::{table::TENSORFLOW_SERVING, *};

fn parse(arguments: &[&str]) -> Result<Flags, clap::Error> {
    Flags::try_parse_from(["adytum-serving", "--model_base_path=/models/resnet"].iter().chain(arguments))
}

#[test]
fn the_reference_command_line_parses() {
    let flags =
        parse(&["--model_name=resnet", "--port=9001", "--ssl_config_file", "/etc/tf_ssl.cfg"]).unwrap();
    assert_eq!((flags.model_name.as_str(), flags.port), ("resnet", 9001));
    assert_eq!(flags.ssl_config_file, Some(PathBuf::from("/etc/tf_ssl.cfg")));
    assert!(!flags.allow_plain_models);
    assert_eq!(flags.tensorflow.check(), Ok(Vec::new()));
    assert_eq!(parse(&["--ssl_config_file="]).unwrap().ssl_config_file, None);
    assert_eq!(parse(&["--port=1", "--port=2"]).unwrap().port, 2, "the last one counts");
}

#[test]
fn all_flags_of_tensorflow_serving_are_accepted() {
    // A value for each that TensorFlow Serving takes too.
    let value = |name: &str| match name {
        "port" | "rest_api_port" => "8501",
        "model_name" | "model_base_path" | "mixed_precision" => "m",
        "saved_model_tags" => "serve",
        "grpc_channel_arguments" => "grpc.max_connection_age_ms=2000,grpc.keepalive_time_ms=1",
        "per_process_gpu_memory_fraction" => "0.5",
        name if name.ends_with("_file") || name.ends_with("_path") => "/tmp/f",
        "use_alts_credentials" => "false",
        name if name.starts_with("enable_")
            || name.starts_with("xla_")
            || [
                "rest_api_enable_cors_support",
                "allow_version_labels_for_unavailable_models",
                "flush_filesystem_caches",
                "remove_unused_fields_from_bundle_metagraph",
                "prefer_tflite_model",
                "skip_initialize_tpu",
            ]
            .contains(&name) =>
        {
            "true"
        }
        _ => "2",
    };
    assert_eq!(TENSORFLOW_SERVING.iter().collect::<BTreeSet<_>>().len(), 48);
    for name in TENSORFLOW_SERVING {
        if name == "version" {
            let error = Flags::try_parse_from(["adytum-serving", "--version"]).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::DisplayVersion);
            continue;
        }
        let argument = format!("--{name}={}", value(name));
        let flags = Flags::try_parse_from(["adytum-serving", &argument]);
        let flags = flags.unwrap_or_else(|error| panic!("{argument}: {error}"));
        flags.tensorflow.check().unwrap();
    }
}

#[test]
fn what_has_no_effect_says_why() {
    let flags = parse(&[
        "--num_load_threads=4",
        "--xla_cpu_compilation_enabled",
        "--tensorflow_inter_op_parallelism=0",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.keepalive_time_ms=1",
        "--batching_parameters_file=/b",
        "--rest_api_num_threads=8",
    ])
    .unwrap();
    let notes = flags.tensorflow.check().unwrap();
    let names: Vec<&str> = notes.iter().map(|note| note.flag.as_str()).collect();
    let expected = [
        "rest_api_num_threads",
        "batching_parameters_file",
        "num_load_threads",
        "xla_cpu_compilation_enabled",
        "grpc_channel_arguments=grpc.keepalive_time_ms",
    ];
    assert_eq!(names, expected);
    assert!(notes.iter().all(|note| !note.reason.is_empty()));
    assert_eq!(flags.tensorflow.grpc_channel_arguments.connection_age, Some(Duration::from_secs(2)));
}

#[test]
fn what_would_be_missed_is_refused() {
    let refused = |arguments: &[&str]| parse(arguments).unwrap().tensorflow.check().unwrap_err().code();
    assert_eq!(refused(&["--use_alts_credentials"]), "alts-not-offered");
    assert_eq!(refused(&["--saved_model_tags=serve,gpu"]), "saved-model-tags");
}

#[test]
fn booleans_are_tensorflows() {
    let batching = |argument: &str| parse(&[argument]).map(|flags| flags.tensorflow.enable_batching);
    assert!(batching("--enable_batching").unwrap());
    assert!(batching("--enable_batching=true").unwrap());
    assert!(!batching("--enable_batching=false").unwrap());
    for wrong in
        ["--enable_batching=1", "--enable_batching=True", "--noenable_batching", "--enable_batching="]
    {
        assert!(batching(wrong).is_err(), "{wrong}");
    }
    assert!(!parse(&["--enable_model_warmup=false"]).unwrap().tensorflow.enable_model_warmup);
    assert!(parse(&["--allow_plain_models=true"]).unwrap().allow_plain_models);
}

#[test]
fn numbers_out_of_range_are_refused() {
    for wrong in [
        "--port=70000",
        "--port=-1",
        "--rest_api_port=65536",
        "--rest_api_timeout_in_ms=0",
        "--rest_api_timeout_in_ms=2147483648",
        "--max_num_load_retries=-1",
        "--file_system_poll_wait_seconds=2147483648",
        "--file_system_poll_wait_seconds=1.5",
        "--load_retry_interval_micros=9223372036854775808",
        "--tensorflow_intra_op_parallelism=-1",
        "--max_message_bytes=0",
        "--grpc_channel_arguments=grpc.max_concurrent_streams",
        "--grpc_channel_arguments=grpc.max_concurrent_streams=x",
    ] {
        assert!(parse(&[wrong]).is_err(), "{wrong}");
    }
    let polling = |text: &str| {
        parse(&[&format!("--file_system_poll_wait_seconds={text}")])
            .unwrap()
            .tensorflow
            .file_system_poll_wait_seconds
    };
    assert_eq!(polling("0"), Polling::Once);
    assert_eq!(polling("-1"), Polling::Once);
    assert_eq!(polling("5"), Polling::Every(Duration::from_secs(5)));
    assert_eq!(
        parse(&["--load_retry_interval_micros=-1"]).unwrap().tensorflow.load_retry_interval_micros,
        Duration::ZERO
    );
}

#[test]
fn an_unknown_flag_is_refused_with_the_nearest_name() {
    let error = parse(&["--model_nam=x"]).unwrap_err().to_string();
    assert!(error.contains("--model_nam") && error.contains("--model_name"), "{error}");
}

#[test]
fn a_model_is_needed() {
    let flags = Flags::try_parse_from(["adytum-serving"]).unwrap();
    assert_eq!(flags.models(), Err(FlagError::NoModel));
    let flags = Flags::try_parse_from(["adytum-serving", "--model_config_file=/m.config"]).unwrap();
    assert_eq!(flags.models(), Ok(ModelsFlag::File(Path::new("/m.config"))));
    let flags = parse(&["--model_name=m"]).unwrap();
    assert_eq!(flags.models(), Ok(ModelsFlag::One { name: "m", base: Path::new("/models/resnet") }));
}

#[test]
fn threads_stay_within_the_machine() {
    let flags = parse(&["--grpc_max_threads=100000", "--tensorflow_intra_op_parallelism=3"]).unwrap();
    assert_eq!(flags.tensorflow.cores().get(), 3);
    assert!(flags.tensorflow.serving_threads() <= std::thread::available_parallelism().unwrap());
    assert_eq!(parse(&["--tensorflow_session_parallelism=5"]).unwrap().tensorflow.cores().get(), 5);
}

#[test]
fn host_flags_exist_and_change_nothing_that_clients_rely_on() {
    let command = <Flags as clap::CommandFactory>::command();
    for flag in HOST_FLAGS {
        assert!(command.get_arguments().any(|argument| argument.get_long() == Some(flag)), "{flag}");
    }
    for measured in [
        "model_name",
        "model_base_path",
        "model_config_file",
        "model_root",
        "allow_plain_models",
        "ssl_config_file",
        "rest_api_port",
        "enable_serialization_as_tensor_content",
    ] {
        assert!(!HOST_FLAGS.contains(&measured), "{measured}");
    }
}
