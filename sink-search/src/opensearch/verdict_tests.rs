use super::*;

/// Answers of OpenSearch 2.19.1, as they came.
fn item(json: &str) -> Verdict {
    verdict(serde_json::from_str::<Entry>(json).unwrap().reply())
}

fn request(status: u16, json: &str) -> Overall {
    overall(status, &error_of(json.as_bytes()))
}

#[test]
fn what_was_written_is_applied_and_a_version_that_is_there_is_a_conflict() {
    assert_eq!(item(r#"{"index":{"status":201}}"#), Verdict::Applied);
    assert_eq!(item(r#"{"index":{"status":200}}"#), Verdict::Applied);
    let conflict = r#"{"index":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[a]: version conflict, current version [5] is higher or equal to the one provided [5]","index":"v1","shard":"0","index_uuid":"lR2RK63aTwac3H5Y3kIADg"}}}"#;
    assert_eq!(item(conflict), Verdict::Conflict);
    let seq_no = r#"{"delete":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[@progress-0]: version conflict, required seqNo [3], primary term [1]. but no document was found"}}}"#;
    assert_eq!(item(seq_no), Verdict::Conflict);
}

#[test]
fn only_what_a_documents_own_content_causes_is_held_against_it() {
    let poison = [
        r#"{"index":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [l] of type [long] in document with id 'c'. Preview of field's value: 'canary'","caused_by":{"type":"illegal_argument_exception","reason":"For input string: \"canary\""}}}}"#,
        r#"{"index":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [v] of type [knn_vector] in document with id 'e'. Preview of field's value: 'null'","caused_by":{"type":"illegal_argument_exception","reason":"Vector dimension mismatch. Expected: 3, Given: 2"}}}}"#,
        r#"{"index":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse","caused_by":{"type":"parsing_exception","reason":"flat object"}}}}"#,
        r#"{"index":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse","caused_by":{"type":"json_e_o_f_exception","reason":"Unexpected end-of-input"}}}}"#,
        r#"{"index":{"status":400,"error":{"type":"illegal_argument_exception","reason":"Document contains at least one immense term in field=\"k\"","caused_by":{"type":"max_bytes_length_exceeded_exception","reason":"bytes can be at most 32766 in length; got 33000"}}}}"#,
    ];
    for json in poison {
        let Verdict::Poison(reason) = item(json) else { panic!("{json}") };
        assert!(reason.starts_with("status 400") && !reason.contains("canary"), "{reason}");
    }
}

#[test]
fn what_an_operator_must_mend_halts_and_costs_no_document() {
    let halts = [
        (
            r#"{"index":{"status":400,"error":{"type":"strict_dynamic_mapping_exception","reason":"mapping set to strict, dynamic introduction of [zz] within [_doc] is not allowed"}}}"#,
            Halt::Mapping,
        ),
        (
            r#"{"index":{"status":404,"error":{"type":"index_not_found_exception","reason":"no such index [gone-x] and [require_alias] request flag is [true] and [gone-x] is not an alias","index":"gone-x","index_uuid":"_na_"}}}"#,
            Halt::Missing,
        ),
        (
            r#"{"index":{"status":400,"error":{"type":"illegal_argument_exception","reason":"no write index is defined for alias [v1a]. The write index may be explicitly disabled using is_write_index=false or the alias points to multiple indices without one being designated as a write index"}}}"#,
            Halt::Other { status: 400, kind: "illegal_argument_exception".into() },
        ),
        (
            r#"{"index":{"status":400,"error":{"type":"index_closed_exception","reason":"closed","index":"v1","index_uuid":"lR2RK63aTwac3H5Y3kIADg"}}}"#,
            Halt::Closed,
        ),
        (
            r#"{"index":{"status":403,"error":{"type":"cluster_block_exception","reason":"index [v1] blocked by: [FORBIDDEN/8/index write (api)];"}}}"#,
            Halt::ReadOnly,
        ),
        (
            r#"{"index":{"status":403,"error":{"type":"cluster_block_exception","reason":"index [v1] blocked by: [FORBIDDEN/5/index read-only (api)];"}}}"#,
            Halt::ReadOnly,
        ),
        (
            r#"{"index":{"status":429,"error":{"type":"cluster_block_exception","reason":"index [v1] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];"}}}"#,
            Halt::DiskFull,
        ),
        (
            r#"{"index":{"status":403,"error":{"type":"security_exception","reason":"no permissions for [indices:data/write/bulk[s]]"}}}"#,
            Halt::Unauthorised { status: 403 },
        ),
        (
            r#"{"update":{"status":404,"error":{"type":"document_missing_exception","reason":"[_doc][x]: document missing"}}}"#,
            Halt::Other { status: 404, kind: "document_missing_exception".into() },
        ),
        (
            r#"{"index":{"status":400,"error":{"type":"an_exception_of_a_later_version","reason":""}}}"#,
            Halt::Other { status: 400, kind: "an_exception_of_a_later_version".into() },
        ),
    ];
    for (json, halt) in halts {
        assert_eq!(item(json), Verdict::Halt(halt.clone()), "{json}");
        assert!(!halt.reason().is_empty() && !halt.remedy().is_empty());
    }
}

#[test]
fn what_passes_by_itself_is_sent_again() {
    let transient = [
        r#"{"index":{"status":429,"error":{"type":"rejected_execution_exception","reason":"rejected execution of primary operation"}}}"#,
        r#"{"index":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"[x][0] primary shard is not active"}}}"#,
        r#"{"index":{"status":503,"error":{"type":"cluster_block_exception","reason":"blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];"}}}"#,
        r#"{"index":{"status":500,"error":{"type":"es_rejected","reason":""}}}"#,
    ];
    for json in transient {
        assert!(matches!(item(json), Verdict::Transient(_)), "{json}");
    }
}

#[test]
fn a_request_is_judged_as_a_whole_where_it_has_no_items() {
    assert_eq!(request(200, "{}"), Overall::Answered);
    let pressure = r#"{"error":{"root_cause":[],"type":"rejected_execution_exception","reason":"rejected execution of coordinating operation"},"status":429}"#;
    assert!(matches!(request(429, pressure), Overall::Throttled(_)));
    assert!(matches!(request(429, "gateway says slow down"), Overall::Throttled(_)));
    assert_eq!(request(413, ""), Overall::Split);
    for status in [408, 500, 502, 503, 504] {
        assert!(matches!(request(status, "<html>bad gateway</html>"), Overall::Transient(_)), "{status}");
    }
    let block = r#"{"error":{"root_cause":[{"type":"cluster_block_exception","reason":"blocked by: [FORBIDDEN/6/cluster read-only (api)];"}],"type":"cluster_block_exception","reason":"blocked by: [FORBIDDEN/6/cluster read-only (api)];"},"status":403}"#;
    assert_eq!(request(403, block), Overall::Halt(Halt::ReadOnly));
    for kind in ["action_request_validation_exception", "illegal_argument_exception", "parse_exception"] {
        let json = format!(r#"{{"error":{{"type":"{kind}","reason":"Validation Failed"}},"status":400}}"#);
        assert_eq!(request(400, &json), Overall::Halt(Halt::Other { status: 400, kind: kind.into() }));
    }
    assert_eq!(request(401, "Unauthorized"), Overall::Halt(Halt::Unauthorised { status: 401 }));
    assert_eq!(
        request(403, r#"{"Message":"User is not authorized"}"#),
        Overall::Halt(Halt::Unauthorised { status: 403 })
    );
    assert_eq!(request(404, r#"{"error":"alias [nope] missing","status":404}"#), Overall::Halt(Halt::Missing));
}
