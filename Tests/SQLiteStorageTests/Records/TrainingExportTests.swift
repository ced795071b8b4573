import Foundation
import LearningRecords
import Reasoning
import TestSupport
import Testing

@testable import SQLiteStorage

@Suite("Training data in files")
struct TrainingExportTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// A file with hostile words in it, and what it holds.
    private func filled() async throws -> SQLiteRecordStore {
        let store = try await SQLiteRecordStore(folder.storage())
        let data = TrainingData(store, redaction: .none)
        let words = ["plain", "", "a,b\r\nc\"d\"", "=1+1", "'quoted", "\u{1F600} \u{2028}", " spaces ", "-5", "\t"]
        let start = try #require(Timestamp(utc: "2026-11-01T08:00"))
        for (number, word) in words.enumerated() {
            let moment = Timestamp(microseconds: start.microseconds + Int64(number) * 86_400_000_000)
            try await data.storeAgentEvent(
                AgentEvent(
                    "e\(word)", id: "event \(number)", agent: number % 2 == 0 ? word : nil,
                    workflow: number == 4 ? "w" : nil, session: number == 5 ? "s" : nil, source: word,
                    payload: number % 3 == 0 ? .text(word) : .json("{\"n\":1e2,\"w\":[]}"),
                    subject: number == 2 ? "ada" : nil, happenedAt: moment))
            try await data.storeAgentTask(
                AgentTask(
                    "t", id: "task \(number)", status: number % 2 == 0 ? .failed : .completed, input: .text(word),
                    error: word, retryCount: Int64(number),
                    executionTime: number == 6 ? nil : .microseconds(1_234_567 * (number + 1)),
                    session: word.isEmpty ? nil : word, subject: number == 3 ? "bob" : nil,
                    startedAt: number == 6 ? nil : moment, completedAt: number == 6 ? moment : nil))
            try await data.storeToolExecution(
                ToolExecution(
                    "search", id: "run \(number)", input: .text(word), executionTime: .seconds(2), subject: "eve"))
            try await data.storeMessage(
                ConversationMessage(
                    "user", .text(word), id: "said \(number)", room: "r", subject: "ada", saidAt: moment))
            try await data.storeWorkflow(
                AgentWorkflow(id: "flow \(number)", name: "w", state: .text(word), agents: [word], tags: [word, word]))
        }
        return store
    }

    private func messages(_ store: SQLiteRecordStore) async throws -> Int {
        var count = 0
        for topic in TrainingTopic.allCases { count += try await store.messages(topic, after: 0, limit: 10_000).count }
        return count
    }

    private func contents(_ path: String) throws -> Data { try Data(contentsOf: URL(filePath: path)) }

    @Test(
        "what is exported and read into another file is exported the same",
        arguments: [
            TrainingKind.events, .tasks, .tools, .workflows, .messages,
        ])
    func roundTrips(kind: TrainingKind) async throws {
        let store = try await filled()
        for (format, isSafe) in [(TrainingFormat.jsonLines, false), (.csv, false), (.csv, true)] {
            let path = "\(folder.path)/\(kind.rawValue)-\(format)-\(isSafe)"
            let manifest = try await store.exportForTraining(kind, to: path, format: format, isSpreadsheetSafe: isSafe)
            #expect(manifest.rows == 9)
            #expect(try contents(path).count == manifest.bytes)
            let other = try await SQLiteRecordStore(folder.storage())
            // Twice: identifiers are there then, and nobody is told.
            for round in 1...2 {
                let count = try await other.importTraining(kind, from: path, format: format, isSpreadsheetSafe: isSafe)
                #expect(count == 9)
                #expect(try await messages(other) == 9, "round \(round)")
            }
            // When a row was written is the file's own.
            func rows(_ store: SQLiteRecordStore) async throws -> [[TrainingValue]] {
                let own: Set = kind == .workflows ? ["created_at", "updated_at"] : kind == .tasks ? ["created_at"] : []
                return try await store.withRows(TrainingQuery(kind)) { rows in
                    var all: [[TrainingValue]] = []
                    let places = rows.columns.indices.filter { !own.contains(rows.columns[$0].name) }
                    try rows.forEach { row in all.append(places.map { row[$0] }) }
                    return all
                }
            }
            #expect(try await rows(other) == rows(store), "\(format) \(isSafe)")
        }
    }

    private static let python = ProcessInfo.processInfo.environment["ATTUNE_PYTHON"] ?? "python3"
    /// Values of a CSV by their columns' types, beside what jq has made of the lines.
    private static let comparison = """
        import csv, json, subprocess, sys
        csv.field_size_limit(1 << 30)
        read = {"text": str, "timestamp": str, "json": json.loads, "integer": int, "real": float, "boolean": lambda t: t == "true"}
        rows = list(csv.reader(open(sys.argv[1], newline="", encoding="utf-8"), strict=True))
        heads = [name.rsplit(":", 1) for name in rows[0]]
        jq = subprocess.run(["jq", "-c", ".", sys.argv[2]], capture_output=True, check=True)
        lines = jq.stdout.decode().split(chr(10))[:-1]
        assert len(lines) == len(rows) - 1 == 9, (len(lines), len(rows))
        for row, line in zip(rows[1:], lines):
            found = json.loads(line)
            assert list(found) == [name for name, _ in heads], line
            for (name, kind), text in zip(heads, row):
                # The module reads an empty text as it reads nothing.
                if text == "":
                    assert found[name] in (None, ""), (name, line)
                else:
                    assert found[name] == read[kind](text), (name, text, line)
        """

    @Test(
        "what Python reads of the CSV and jq of the lines is equal",
        .enabled(
            if: runProgram(
                "jq --version > /dev/null && '\(python)' -c 'import sys; sys.exit(sys.version_info < (3, 11))'") == 0,
            "needs jq and a python3 (or ATTUNE_PYTHON) of 3.11 or later"), arguments: TrainingKind.allCases.dropFirst())
    func peers(kind: TrainingKind) async throws {
        let store = try await filled()
        let (csv, lines, script) = (folder.path + "/a.csv", folder.path + "/a.jsonl", folder.path + "/a.py")
        _ = try await store.exportForTraining(kind, to: csv, format: .csv)
        _ = try await store.exportForTraining(kind, to: lines)
        try Data(Self.comparison.utf8).write(to: URL(filePath: script))
        #expect(runProgram("'\(Self.python)' '\(script)' '\(csv)' '\(lines)'") == 0)
    }

    @Test("calls come back with their sessions, contents, failures and subjects")
    func calls() async throws {
        let store = try await SQLiteRecordStore(folder.storage())
        let recorder = try ModelCallRecorder(store: store)
        struct Refused: Error {}
        try await recorder.enable(.everything)
        for number in 0..<5 {
            let call = ModelCall("TEXT", provider: "acme", context: SpanContext(agent: "a", room: "r", entity: "ada"))
            do {
                _ = try await recorder.record(call, input: .text("q\(number)")) {
                    () async throws(Refused) in
                    if number == 2 { throw Refused() }
                    return "a\(number)"
                }
            } catch {}
        }
        try await recorder.disable(.everything, flushWithin: .seconds(600))
        let path = folder.path + "/calls.jsonl"
        let first = try await store.exportForTraining(.modelCalls, to: path)
        let other = try await SQLiteRecordStore(folder.storage())
        #expect(try await other.importTraining(.modelCalls, from: path) == 5)
        #expect(try await other.importTraining(.modelCalls, from: path) == 5)
        func rows(_ store: SQLiteRecordStore) async throws -> [[TrainingValue]] {
            try await store.withRows(TrainingQuery(.modelCalls)) { rows in
                var all: [[TrainingValue]] = []
                // All but when it was written.
                try rows.forEach { all.append(Array($0.dropLast())) }
                return all
            }
        }
        #expect(try await rows(other) == rows(store))
        #expect(first.rows == 5)
        let (ours, theirs) = (try await store.recordings(limit: 2), try await other.recordings(limit: 2))
        #expect(ours.map(\.id) == theirs.map(\.id) && ours.map(\.totals) == theirs.map(\.totals))
        #expect(theirs.first?.state == .completed)
    }

    @Test("rows are of one moment, whatever is told meanwhile, and whoever tells waits for nobody")
    func snapshots() async throws {
        let store = try await filled()
        let data = TrainingData(store, redaction: .none)
        let (hasBegun, mayGoOn) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        let reading = Task {
            try await store.withRows(TrainingQuery(.events)) { rows in
                var seen: [TrainingValue] = []
                try rows.forEach { row in
                    if seen.isEmpty {
                        hasBegun.signal()
                        mayGoOn.wait()
                    }
                    seen.append(row[2])
                }
                return seen
            }
        }
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                hasBegun.wait()
                continuation.resume()
            }
        }
        for number in 0..<20 { try await data.storeAgentEvent(AgentEvent("late", id: "late \(number)")) }
        for number in 0..<9 { try await data.storeAgentEvent(AgentEvent("e", id: "event \(number)", agent: "late")) }
        mayGoOn.signal()
        let seen = try await reading.value
        #expect(seen.count == 9 && !seen.contains(.text("late")))
        #expect(
            try await store.withRows(TrainingQuery(.events)) { rows in
                var count = 0
                try rows.forEach { _ in count += 1 }
                return count
            } == 29)
    }

    @Test("a backup holds records, messages, positions, scores and consents")
    func backups() async throws {
        let store = try await filled()
        let now = SystemClock().now
        let span = try #require(try await store.span(.task, externalID: "task 0"))
        #expect(try await store.store([Score(.thumbs, 1, of: span.id, at: now)]).isEmpty)
        try await store.setConsent(true, of: "ada", to: .personalLearning)
        try await store.advance("c", in: .agentTasks, to: 4)
        let path = folder.path + "/backup.db"
        try await store.storage.backup(to: path)
        let copy = try await SQLiteRecordStore(SQLiteStorage(path: path))
        #expect(try await copy.count() == store.count())
        #expect(try await messages(copy) == messages(store))
        #expect(try await copy.position(of: "c", in: .agentTasks) == 4)
        #expect(try await copy.scores(of: span.id).count == 1)
        #expect(try await copy.hasConsent(of: "ada", to: .personalLearning))
        await copy.storage.close()
    }

    @Test("a manifest says what the file holds; the digest is that of another program")
    func manifest() async throws {
        let store = try await filled()
        let path = folder.path + "/events.jsonl"
        let manifest = try await store.exportForTraining(
            .events, to: path, from: Timestamp(utc: "2026-11-02"), until: Timestamp(utc: "2026-11-04", isEnd: true),
            filter: .not(.isNull("source")))
        #expect(manifest.rows == 3)
        #expect(runProgram("echo '\(manifest.sha256)  \(path)' | sha256sum --check --status") == 0)
        let read = try #require(
            JSONSerialization.jsonObject(with: try contents(path + ".manifest.json")) as? [String: Any])
        #expect(read["rows"] as? Int == 3 && read["sha256"] as? String == manifest.sha256)
        #expect(
            read["filter"] as? String == "not source is NULL" && read["schema_version"] as? Int == store.schemaVersion)
        #expect(read["from"] as? String == "2026-11-02T00:00:00.000000Z")
        #expect(read["until"] as? String == "2026-11-05T00:00:00.000000Z")
    }

    @Test("examples are made of calls, and preferences of those that were scored differently")
    func examples() async throws {
        let store = try await SQLiteRecordStore(folder.storage())
        let now = SystemClock().now
        func call(_ number: Int64, _ input: String, _ output: String, _ reward: Double?, fails: Bool = false)
            async throws
        {
            let moment = Timestamp(microseconds: now.microseconds + number)
            var span = SpanRecord(
                id: RecordID(at: moment), trace: RecordID(at: moment), kind: .modelCall, name: "TEXT", startedAt: moment
            )
            span.status = fails ? .failed : .completed
            span.contents = [.input: .text(input), .output: .text(output)]
            #expect(try await store.store([span]).isEmpty)
            if let reward { #expect(try await store.store([Score(.reward, reward, of: span.id, at: moment)]).isEmpty) }
        }
        try await call(1, "q1", "good", 0.9)
        try await call(2, "q1", "bad", -0.4)
        try await call(3, "q1", "middle", 0.1)
        try await call(4, "q2", "alone", 1)
        try await call(5, "q3", "same", 0.5)
        try await call(6, "q3", "other", 0.5)
        try await call(7, "q4", "failed", nil, fails: true)
        func lines(_ format: TrainingFormat) async throws -> ([String], TrainingManifest) {
            let path = "\(folder.path)/\(format)"
            let manifest = try await store.exportForTraining(.modelCalls, to: path, format: format)
            return (
                String(decoding: try contents(path), as: UTF8.self).split(separator: "\n").map(String.init), manifest
            )
        }
        let (chat, manifest) = try await lines(.chat)
        #expect(manifest.rows == 6 && manifest.skipped == 1)
        #expect(
            chat.first == #"{"messages":[{"role":"user","content":"q1"},{"role":"assistant","content":"good"}]}"#)
        #expect(try await lines(.completion).0.last == #"{"prompt":"q3","completion":"other"}"#)
        #expect(try await lines(.preference).0 == [#"{"prompt":"q1","chosen":"good","rejected":"bad"}"#])
        await #expect(throws: RecordError.self) {
            _ = try await store.exportForTraining(.events, to: folder.path + "/x", format: .chat)
        }
    }

    @Test("a file that is wrong anywhere is refused with its line, and nothing of it is kept")
    func refusedFiles() async throws {
        let path = folder.path + "/wrong.jsonl"
        let good = #"{"event_id":"a","event_type":"e"}"#
        let store = try await SQLiteRecordStore(folder.storage())
        let wrong = [
            "{}", #"{"event_type":""}"#, #"{"event_type":"e","severity":"loud"}"#, "[]", #"{"event_type":5}"#,
            #"{"event_type":"e","created_at":"2026-11-31 00:00:00.000000"}"#, #"{"event_type":"e","payload":"x"#,
            #"{"event_type":"e","no such column":1}"#,
        ]
        for line in wrong {
            try Data((good + "\n" + line + "\n").utf8).write(to: URL(filePath: path))
            await #expect(throws: (any Error).self, "\(line)") {
                _ = try await store.importTraining(.events, from: path)
            }
        }
        #expect(try await store.count() == 0)
        await #expect(throws: RecordError.self) {
            _ = try await store.importTraining(.events, from: folder.path + "/none")
        }
    }

    @Test("damaged files are read or refused, and never harm", arguments: [UInt64(1), 2])
    func fuzzedImport(seed: UInt64) async throws {
        let store = try await filled()
        var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
        func random(_ below: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(below))
        }
        let other = try await SQLiteRecordStore(folder.storage())
        var (read, refused) = (0, 0)
        for kind in [TrainingKind.events, .tasks, .workflows] {
            for format in [TrainingFormat.jsonLines, .csv] {
                let path = "\(folder.path)/fuzz"
                _ = try await store.exportForTraining(kind, to: path, format: format)
                let whole = Array(try contents(path))
                for _ in 0..<underSanitizer(10, otherwise: 60) {
                    var bytes = whole
                    for _ in 0...random(3) {
                        switch random(4) {
                        case 0: bytes[random(bytes.count)] ^= UInt8(1 << random(8))
                        case 1: bytes.remove(at: random(bytes.count))
                        case 2: bytes.insert(UInt8(random(256)), at: random(bytes.count))
                        default: bytes.removeLast(random(bytes.count / 2))
                        }
                    }
                    try Data(bytes).write(to: URL(filePath: path))
                    do {
                        _ = try await other.importTraining(kind, from: path, format: format)
                        read += 1
                    } catch is TrainingFormatError { refused += 1 } catch is RecordError { refused += 1 }
                }
            }
        }
        print("import, seed \(seed): \(read) files read, \(refused) refused")
        #expect(read > 0 && refused > 0)
    }

    @Test("nothing is written over the store's own files, nor over what is no file")
    func targets() async throws {
        let store = try await filled()
        let path = store.place
        let before = try contents(path)
        let link = folder.path + "/link.db"
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        let hard = folder.path + "/hard"
        #expect(runProgram("ln '\(path)' '\(hard)'") == 0)
        let device = folder.path + "/fifo"
        #expect(runProgram("mkfifo '\(device)'") == 0)
        for target in [
            path, path + "-wal", path + "-journal", path + "-shm", link, hard, device, folder.path, "/dev/null",
        ] {
            await #expect(throws: RecordError.self, "\(target)") {
                _ = try await store.exportForTraining(.events, to: target)
            }
            await #expect(throws: RecordError.self, "\(target)") {
                _ = try await store.retain(RecordRetention(bytes: 0), archivingTo: target)
            }
        }
        #expect(try contents(path) == before && runProgram("test -p '\(device)' -a -c /dev/null") == 0)
        // What is refused leaves the manifest of an export that was there.
        let file = folder.path + "/events.jsonl"
        _ = try await store.exportForTraining(.events, to: file)
        await #expect(throws: RecordError.self) {
            _ = try await store.exportForTraining(.events, to: file, filter: .isNull("no such column"))
        }
        #expect(FileManager.default.fileExists(atPath: file + ".manifest.json"))
    }

    @Test("a full disk loses nothing, and an export on it leaves no file", .enabled(if: SmallDisk.isPossible))
    func fullDisk() async throws {
        let disk = try SmallDisk(megabytes: 6, at: folder.path + "/disk")
        let storage = try await SQLiteStorage(path: disk.path + "/a.db")
        let store = try await SQLiteRecordStore(storage)
        let data = TrainingData(store, redaction: .none)
        let payload = RecordContent.text(String(repeating: "x", count: 4_000))
        var stored = 0
        do {
            while stored < 5_000 {
                try await data.storeAgentEvents(
                    (0..<20).map { AgentEvent("e", id: "\(stored + $0)", payload: payload) })
                stored += 20
            }
            Issue.record("the disk never became full")
        } catch let error as StorageError {
            #expect(error.code == .full, "\(error)")
        }
        #expect(stored > 0)
        await #expect(throws: (any Error).self) {
            _ = try await store.exportForTraining(.events, to: disk.path + "/events.jsonl")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: disk.path).allSatisfy { $0.hasPrefix("a.db") })
        await storage.close()
        let again = try await SQLiteRecordStore(SQLiteStorage(path: disk.path + "/a.db"))
        #expect(try await again.count() == stored)
        #expect(try await again.messages(.agentEvents, after: 0, limit: 10_000).count == stored)
        await again.storage.close()
    }
}
