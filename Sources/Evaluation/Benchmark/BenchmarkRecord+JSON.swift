import TensorCore

extension BenchmarkRecord {
    private static let format = "attune-benchmark"
    private static let formatVersion = 1
    /// The most bytes of a record that are read.
    static let largestFile = 256 << 20

    /// The record as one JSON object; docs/formats.md says what is in it. Gains have six digits behind the point.
    public var json: String {
        func list(_ values: [Double]) -> JSONText { .array(values.map { .number($0) }) }
        return JSONText.object([
            ("format", .string(Self.format)), ("format_version", .integer(Self.formatVersion)),
            ("attune_version", .string(version)), ("command", .string(command)), ("dataset", .string(dataset)),
            ("data_hash", .string(Self.hex(dataHash))), ("query", .string(query.rawValue)), ("seeds", .integer(seeds)),
            ("users", .array(users.map { .string(Self.hex($0)) })), ("events", .array(events.map { .integer($0) })),
            (
                "runs",
                .array(
                    runs.map { run in
                        .object([
                            ("name", .string(run.name)),
                            (
                                "settings",
                                .object(run.settings.sorted { $0.key < $1.key }.map { ($0.key, .number($0.value)) })
                            ),
                            ("auc", list(run.records.auc)), ("mrr", list(run.records.mrr)),
                            ("ndcg10", list(run.records.ndcg10)), ("hit10", list(run.records.hit10)),
                            ("regret", run.records.regret.map(list) ?? .null),
                            ("gains", .array(run.records.gains.map { list($0.map(Self.rounded)) })),
                        ])
                    })
            ),
        ]).text + "\n"
    }

    private static func rounded(_ gain: Double) -> Double { (gain * 1e6).rounded() / 1e6 }

    /// Sixteen hexadecimal digits.
    static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Reads a record.
    ///
    /// - Throws: ``DataError``: `missingFile`, `unreadable`, `limitExceeded`, `malformedRecord` naming what is wrong and where.
    public init(path: String) throws(DataError) {
        let (name, bytes) = try FileAccess.document(path, limit: Self.largestFile)
        try self.init(bytes, name: name)
    }

    /// - Parameter name: The file's, for errors.
    init(_ bytes: [UInt8], name: String) throws(DataError) {
        var limits = JSONLimits()
        limits.maximumBytes = Self.largestFile
        limits.maximumValues = 1 << 24
        let root: JSONValue
        do throws(JSONError) { root = try StrictJSON.parse(bytes, limits: limits) } catch {
            throw DataError(
                error.reason == .limit ? .limitExceeded : .malformedRecord, file: name,
                "byte \(error.offset): \(error.message)")
        }
        let reader = RecordReader(file: name)
        let object = try reader.members(root, "the record")
        guard try reader.text(object, "format") == Self.format else {
            throw reader.malformed("it is no benchmark's record: 'format' is not '\(Self.format)'")
        }
        guard case .integer(let number)? = object["format_version"]?.content, number == Self.formatVersion else {
            throw reader.malformed("its version is not \(Self.formatVersion), the one that this program reads")
        }
        guard let query = QueryKind(rawValue: try reader.text(object, "query")) else {
            throw reader.malformed("'query' is neither last nor profile")
        }
        var users: [UInt64] = []
        for user in try reader.list(object, "users") {
            guard case .string(let text) = user.content, text.utf8.count == 16, let hash = UInt64(text, radix: 16)
            else {
                throw reader.malformed("byte \(user.offset): a user is not 16 hexadecimal digits")
            }
            users.append(hash)
        }
        guard Set(users).count == users.count else { throw reader.malformed("a user stands in it twice") }
        let events = try reader.list(object, "events").map { value throws(DataError) in
            try reader.count(value, 1...100_000, "a user's number of events")
        }
        guard !users.isEmpty, events.count == users.count else {
            throw reader.malformed("\(users.count) users, and \(events.count) numbers of events")
        }
        guard let dataHash = UInt64(try reader.text(object, "data_hash"), radix: 16) else {
            throw reader.malformed("'data_hash' is no hexadecimal number")
        }
        guard let seedCount = object["seeds"] else { throw reader.malformed("'seeds' is missing") }
        var runs: [Run] = []
        for run in try reader.list(object, "runs") { runs.append(try reader.run(run, events)) }
        guard Set(runs.map(\.name)).count == runs.count else { throw reader.malformed("two runs have one name") }
        self.init(
            dataset: try reader.text(object, "dataset"), dataHash: dataHash, query: query,
            seeds: try reader.count(seedCount, 1...1_000, "'seeds'"),
            version: try reader.text(object, "attune_version"),
            command: try reader.text(object, "command"), users: users, events: events, runs: runs)
    }
}

/// Reads the parts of a record from JSON, and says what is wrong with them.
private struct RecordReader {
    let file: String

    func malformed(_ message: String) -> DataError { DataError(.malformedRecord, file: file, message) }

    func members(_ value: JSONValue, _ what: String) throws(DataError) -> [String: JSONValue] {
        guard case .object(let members) = value.content else {
            throw malformed("byte \(value.offset): \(what) is no object")
        }
        // The parser has refused keys that stand there twice.
        return Dictionary(members.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })
    }

    func text(_ object: [String: JSONValue], _ key: String) throws(DataError) -> String {
        guard case .string(let text)? = object[key]?.content else { throw malformed("'\(key)' is no text") }
        return text
    }

    func list(_ object: [String: JSONValue], _ key: String) throws(DataError) -> [JSONValue] {
        guard case .array(let values)? = object[key]?.content else { throw malformed("'\(key)' is no list") }
        return values
    }

    func number(_ value: JSONValue) throws(DataError) -> Double {
        switch value.content {
        case .integer(let number): return Double(number)
        case .number(let number) where number.isFinite: return number
        default: throw malformed("byte \(value.offset): not a finite number")
        }
    }

    func count(_ value: JSONValue, _ range: ClosedRange<Int>, _ what: String) throws(DataError) -> Int {
        guard case .integer(let number) = value.content, let count = Int(exactly: number), range.contains(count) else {
            throw malformed(
                "byte \(value.offset): \(what) is no whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return count
    }

    func run(_ value: JSONValue, _ events: [Int]) throws(DataError) -> BenchmarkRecord.Run {
        let object = try members(value, "a run")
        let name = try text(object, "name")
        guard !name.isEmpty, name.utf8.count <= 200 else { throw malformed("a run's name is empty or over 200 bytes") }
        /// A sum for each user, of shares in 0...1.
        func sums(_ key: String, from least: Double = 0) throws(DataError) -> [Double] {
            let values = try list(object, key)
            guard values.count == events.count else {
                throw malformed("run \(name): '\(key)' has \(values.count) numbers for \(events.count) users")
            }
            var sums: [Double] = []
            for (value, events) in zip(values, events) {
                let sum = try number(value)
                guard sum >= least * Double(events), sum <= Double(events) * (1 + 1e-9) else {
                    throw malformed(
                        "byte \(value.offset): '\(key)' is no sum over \(events) events, each from \(Int(least)) to 1")
                }
                sums.append(sum)
            }
            return sums
        }
        var gains: [[Double]] = []
        for (row, count) in zip(try list(object, "gains"), events) {
            guard case .array(let values) = row.content, values.count == count else {
                throw malformed("byte \(row.offset): a user's gains are not one for each of their events")
            }
            gains.append(
                try values.map { value throws(DataError) in
                    let gain = try number(value)
                    guard abs(gain) <= 1 else { throw malformed("byte \(value.offset): a gain is not in -1...1") }
                    return gain
                })
        }
        guard gains.count == events.count else { throw malformed("run \(name): not every user has gains") }
        var settings: [String: Double] = [:]
        guard let given = object["settings"] else { throw malformed("run \(name): 'settings' is missing") }
        for (key, value) in try members(given, "'settings'") { settings[key] = try number(value) }
        var regret: [Double]?
        if case .array? = object["regret"]?.content { regret = try sums("regret", from: -1) }
        return BenchmarkRecord.Run(
            name: name, settings: settings,
            records: UserRecords(
                auc: try sums("auc"), mrr: try sums("mrr"), ndcg10: try sums("ndcg10"), hit10: try sums("hit10"),
                regret: regret, gains: gains))
    }
}
