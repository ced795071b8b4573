import Attune
import Benchmarking
import Foundation

/// What a journal costs: updates by reference into a storage file, what SQLite alone takes for the same rows, and recovery.
struct JournalBenchmark {
    /// One figure.
    struct Line: Codable {
        let name: String
        /// Tasks that write at the same time; for SQLite alone, and for batches, see ``batch``.
        let writers: Int
        /// The updates of one call; for SQLite alone, the rows of one transaction.
        let batch: Int
        let updates: Int
        let updatesPerSecond: Double
        /// Processor time of all threads for one update, in microseconds. Below `cores · 1e6 / updatesPerSecond` by what the
        /// threads waited, or something else had the cores.
        let processorMicroseconds: Double

        enum CodingKeys: String, CodingKey {
            case name, writers, batch, updates
            case updatesPerSecond = "updates_per_second"
            case processorMicroseconds = "cpu_us"
        }

        init(_ name: String, writers: Int, batch: Int = 1, updates: Int, since start: Moment) {
            self.name = name
            self.writers = writers
            self.batch = batch
            self.updates = updates
            let now = Moment()
            updatesPerSecond = Double(updates) / ((now.wall - start.wall) / .seconds(1))
            processorMicroseconds = (now.processor - start.processor) * 1e6 / Double(updates)
        }
    }

    /// When something began: by the clock, and by the processor time of this process.
    struct Moment {
        let wall = ContinuousClock.now
        let processor: Double

        init() {
            var usage = rusage()
            precondition(unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0, "getrusage failed")
            func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
            processor = seconds(usage.ru_utime) + seconds(usage.ru_stime)
        }
    }

    let dimension = 384
    let rank = 8
    let users = 8_000
    let folder: URL
    let isQuick: Bool
    let catalogue: ItemCatalogue

    init(folder: URL, isQuick: Bool) throws {
        self.folder = folder
        self.isQuick = isQuick
        var random = PhiloxGenerator(seed: 31, purpose: .simulation)
        let size = 1.7 / Float(dimension).squareRoot()
        var items = Matrix<Float>(rows: 1_000, columns: dimension)
        for i in 0..<items.rows {
            items.withMutableRow(i) { row in
                for j in row.indices { row[j] = random.uniform(in: -size..<size) }
            }
        }
        catalogue = try ItemCatalogue(vectors: items)
    }

    /// One piece of feedback: an item liked better than another, both by reference.
    private func feedback(_ random: inout PhiloxGenerator) throws -> [Feedback] {
        let (item, other) = (random.integer(below: 1_000), random.integer(below: 1_000))
        return [
            try Feedback(
                of: item, in: catalogue,
                signal: .preference(.catalogued(item, catalogue), over: [.catalogued(other, catalogue)]))
        ]
    }

    private func configuration(_ durability: Durability) -> EngineConfiguration {
        var update = UpdateConfiguration(dimension: dimension)
        update.fading = PerObjective(all: 0)
        return EngineConfiguration(
            dimension: dimension, rank: rank, update: update, durability: durability,
            checkpoints: CheckpointPolicy(updatesPerUser: .max, updates: .max, bytes: .max, age: .seconds(1e6)))
    }

    /// Updates of some writers, each with users of its own, one after another or so many in a call.
    private func write(
        _ name: String, _ engine: PersonalizationEngine, writers: Int, updates: Int, batch: Int = 1
    ) async throws -> Line {
        let users = users / writers
        // Made outside the timer: an application has its feedback at hand.
        let work = try (0..<writers).map { writer in
            var random = PhiloxGenerator(seed: UInt64(writer), purpose: .simulation)
            let handles = try (0..<users).map { try engine.handle(for: "writer-\(writer)-user-\($0)") }
            return (handles, try (0..<512).map { _ in try feedback(&random) })
        }
        let each = updates / writers / batch * batch
        let start = Moment()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (handles, feedback) in work {
                group.addTask {
                    guard batch > 1 else {
                        for i in 0..<each {
                            try await engine.updateAdapter(for: handles[i % users], with: feedback[i % 512])
                        }
                        return
                    }
                    for i in stride(from: 0, to: each, by: batch) {
                        let results = await engine.updateAdapters(
                            (i..<(i + batch)).map {
                                UserFeedback(user: handles[$0 % users].user, feedback: feedback[$0 % 512])
                            })
                        for result in results { _ = try result.get() }
                    }
                }
            }
            try await group.waitForAll()
        }
        guard engine.statistics().updates >= each * writers else { throw WrongResult("\(name): updates are missing") }
        return Line(name, writers: writers, batch: batch, updates: each * writers, since: start)
    }

    static let names = ["memory", "buffered", "synced", "bare-buffered", "bare-synced", "recovery"]

    /// The figures of some cases, told as they come.
    func run(_ cases: Set<String>, _ tell: (Line) throws -> Void) async throws {
        let scale = isQuick ? 10 : 1
        for writers in [1, 8] where cases.contains("memory") {
            let engine = try PersonalizationEngine(configuration: configuration(.none))
            _ = try await write("warm-up", engine, writers: writers, updates: users)
            try tell(try await write("memory", engine, writers: writers, updates: 1_000_000 / scale))
        }
        for (durability, writers, batch, updates) in [
            (Durability.buffered, 1, 1, 200_000), (.buffered, 8, 1, 400_000), (.buffered, 64, 1, 400_000),
            (.buffered, 1, 250, 400_000), (.buffered, 8, 250, 1_000_000), (.synced, 1, 1, 20_000),
            (.synced, 8, 1, 100_000), (.synced, 64, 1, 200_000), (.synced, 8, 250, 400_000),
        ] where cases.contains("\(durability)") {
            let path = folder.appending(path: "\(durability)-\(writers)-\(batch).db").path
            let storage = try await SQLiteStorage(path: path)
            let engine = try PersonalizationEngine(
                configuration: configuration(durability), store: storage, journal: storage)
            _ = try await write("warm-up", engine, writers: writers, updates: users)
            try tell(
                try await write("\(durability)", engine, writers: writers, updates: updates / scale, batch: batch))
            await storage.close()
        }
        for (isSynced, group) in [(false, 1), (false, 8), (false, 64), (true, 1), (true, 8), (true, 64)] {
            let name = "bare-\(isSynced ? Durability.synced : .buffered)"
            guard cases.contains(name) else { continue }
            let updates = (isSynced ? group == 1 ? 20_000 : 100_000 : 400_000) / scale
            let bare = try BareJournal(folder.appending(path: "bare-\(isSynced)-\(group).db").path, isSynced: isSynced)
            let start = Moment()
            try bare.append(updates, group: group, users: users)
            try tell(Line(name, writers: 1, batch: group, updates: updates, since: start))
        }
        if cases.contains("recovery") { try await recovery(1_000_000 / scale, tell) }
    }

    /// A journal of so many entries, written and replayed.
    private func recovery(_ entries: Int, _ tell: (Line) throws -> Void) async throws {
        let path = folder.appending(path: "recovery.db").path
        let first = try await SQLiteStorage(path: path)
        let engine = try PersonalizationEngine(configuration: configuration(.buffered), store: first, journal: first)
        try tell(try await write("recovery-written", engine, writers: 64, updates: entries / 64 * 64))
        await first.close()
        let second = try await SQLiteStorage(path: path)
        let next = try PersonalizationEngine(configuration: configuration(.buffered), store: second, journal: second)
        let start = Moment()
        let report = try await next.recover()
        guard report.entries == entries / 64 * 64 else { throw WrongResult("recovered \(report.entries) entries") }
        try tell(Line("recovery", writers: 1, updates: report.entries, since: start))
        await second.close()
    }
}

extension Benchmark {
    /// Runs the journal's figures in a folder that goes afterwards.
    static func journal(_ options: Options) async throws {
        let folder = try PassingFolder("attune-journal", in: options.folder)
        defer { folder.remove() }
        var lines: [JournalBenchmark.Line] = []
        let cases = try options.cases(among: JournalBenchmark.names)
        try await JournalBenchmark(folder: folder.url, isQuick: options.isQuick).run(cases) { line in
            lines.append(line)
            guard !options.isJSON else { return }
            let name = line.name + String(repeating: " ", count: max(1, 18 - line.name.count))
            print(
                "\(name)\(line.writers)\twriters, \(line.batch)\ttogether\t\(line.updates) updates\t\(Int(line.updatesPerSecond))/s\t"
                    + "\(rounded(1e6 / line.updatesPerSecond)) µs\t\(rounded(line.processorMicroseconds)) µs of processors"
            )
        }
        guard options.isJSON else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        print(String(decoding: try encoder.encode(["journal": lines]), as: UTF8.self))
    }
}
