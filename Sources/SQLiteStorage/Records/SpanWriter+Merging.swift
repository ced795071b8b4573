internal import LearningRecords

extension SpanWriter {
    /// Keeps spans under the identifiers that the application gave them, in their order: see ``SpanRecord/merged(with:)``.
    mutating func merge(_ spans: [SpanRecord]) throws -> [RefusedSpan] {
        for (place, given) in spans.enumerated() {
            var span = given
            // Compared with what is read.
            span.contents = span.contents.mapValues { RecordContent(stored: $0.stored) }
            if let error = span.refusal("store") {
                refused.append(RefusedSpan(place: place, error: error))
                continue
            }
            // Kept as an attribute, lest it takes the place of a recording that is known.
            if span.recording != nil { _ = try mergedSeries(&span) }
            // One that waits to be written may be the one that is meant.
            if span.externalID.map({ RecordID($0) != nil }) ?? false { try keepRows() }
            if let held = try heldRef(span) {
                try merge(Row(place: place, span: span, trace: 0, series: 0), held)
                continue
            }
            let series = try mergedSeries(&span)
            try append(Row(place: place, span: span, trace: try traceRef(span), series: series))
        }
        return try finish()
    }

    /// The number of the span that has a span's identifier, the application's or its own.
    func heldRef(_ span: SpanRecord) throws(StorageError) -> Int64? {
        guard let external = span.externalID else { return try connection.spanRef(span.id, project) }
        if let ref = try connection.spanRef(span.kind, external, project) { return ref }
        // One that was told of without an identifier is known by the store's own.
        guard let own = RecordID(external) else { return nil }
        return try connection.integer(
            "SELECT ref FROM spans WHERE project = ? AND id = ? AND kind = ? AND external_id IS NULL",
            [.integer(project), .string(own.description), .string(span.kind.rawValue)])
    }

    /// Makes a span what both it and the one that is there say; nothing is written, and nobody told, where that is what is there.
    mutating func merge(_ row: Row, _ ref: Int64) throws {
        let held = try connection.span(ref)
        var merged = held.merged(with: row.span)
        merged.isPublished = held.isPublished
        let series = try mergedSeries(&merged)
        if merged == held { return }
        merged.isPublished = row.span.isPublished
        guard let trace = try connection.integer("SELECT trace FROM spans WHERE ref = ?", [.integer(ref)]) else {
            throw StorageError(.damaged, "store", "a span is gone", path: connection.path)
        }
        try update(Row(place: row.place, span: merged, trace: trace, series: series), ref)
        try finish(merged, ref)
    }

    /// The number of a span's series. A recording that is not there is the name of a session.
    private mutating func mergedSeries(_ span: inout SpanRecord) throws -> Int64 {
        if let ref = try seriesRef(Series(span)) { return ref }
        let session = span.recording
        span.recording = nil
        span.attributes = session.map { SpanRecord.attributes(span.attributes, withSession: $0) }
        guard let ref = try seriesRef(Series(span)) else { throw RecordError.unknownRecording("store") }
        return ref
    }
}

extension Connection {
    /// The number of the span that has an identifier of the application's; `nil` where there is none.
    func spanRef(_ kind: SpanKind, _ externalID: String, _ project: Int64) throws(StorageError) -> Int64? {
        try integer(
            "SELECT ref FROM spans WHERE project = ? AND kind = ? AND external_id = ?",
            [.integer(project), .string(kind.rawValue), .string(externalID)])
    }
}
