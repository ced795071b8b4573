import Attune
import Benchmarking
import Foundation

/// Many adapters in one storage file: making it, opening it, and reads of random users from the disk and from the system's
/// cache.
struct StoreBenchmark {
    /// One figure: so many calls together, and the time of each in microseconds where each was timed.
    struct Line: Codable {
        let name: String
        let calls: Int
        let seconds: Double
        var p50: Double?
        var p99: Double?
        var max: Double?
        /// What is to be known besides.
        var note: String?

        init(_ name: String, calls: Int, since start: ContinuousClock.Instant, note: String? = nil) {
            self.name = name
            self.calls = calls
            seconds = (ContinuousClock.now - start) / .seconds(1)
            self.note = note
        }

        /// Of calls one after another.
        init(_ name: String, _ times: [Duration], note: String? = nil) {
            self.name = name
            calls = times.count
            self.note = note
            let sorted = times.map { $0 / .microseconds(1) }.sorted()
            seconds = sorted.reduce(0, +) / 1e6
            p50 = sorted[sorted.count / 2]
            p99 = sorted[sorted.count * 99 / 100]
            max = sorted[sorted.count - 1]
        }
    }

    let path: String
    let adapters: Int
    let reads: Int
    private let configuration: EngineConfiguration
    private let embedding: [Float]
    private let feedback: [Feedback]

    init(folder: URL, adapters: Int, shape: KernelBenchmark.Shape) {
        path = folder.appending(path: "store.db").path
        self.adapters = adapters
        reads = min(10_000, adapters / 10)
        var random = PhiloxGenerator(seed: 41, purpose: .simulation)
        let size = 1.7 / Float(shape.dimension).squareRoot()
        func vector() -> [Float] { (0..<shape.dimension).map { _ in random.uniform(in: -size..<size) } }
        embedding = vector()
        feedback = [Feedback(embedding: embedding, signal: .target(vector()))]
        configuration = EngineConfiguration(
            dimension: shape.dimension, rank: shape.rank, hasBias: false,
            update: UpdateConfiguration(dimension: shape.dimension))
    }

    private func name(_ user: Int) -> String { "user-\(user)" }

    /// Random users, each once.
    private func users(_ count: Int, seed: UInt64) -> [String] {
        var random = PhiloxGenerator(seed: seed, purpose: .simulation)
        return random.sample(count, of: adapters).map(name)
    }

    private func engine(_ storage: SQLiteStorage, budget: Int? = nil) throws -> PersonalizationEngine {
        var configuration = configuration
        configuration.residentByteBudget = budget
        return try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
    }

    private func timed(_ users: [String], _ call: (String) async throws -> Bool) async throws -> [Duration] {
        var times: [Duration] = []
        times.reserveCapacity(users.count)
        for user in users {
            let start = ContinuousClock.now
            let isThere = try await call(user)
            times.append(ContinuousClock.now - start)
            guard isThere else { throw WrongResult("\(user) is not in the file") }
        }
        return times
    }

    func run(_ tell: (Line) throws -> Void) async throws {
        try await make(tell)
        try await readStorage(tell)
        try await readEngine(tell)
        try await prefetch(tell)
        try await readWithATenthResident(tell)
    }

    /// Adapters that have learned once, saved a thousand at a time.
    private func make(_ tell: (Line) throws -> Void) async throws {
        let storage = try await SQLiteStorage(path: path)
        let shape = try configuration.validatedShape()
        let start = ContinuousClock.now
        for first in stride(from: 0, to: adapters, by: 1_000) {
            let records = try (first..<Swift.min(adapters, first + 1_000)).map { user in
                let cold = LoRAAdapter(
                    shape: shape, identity: AdapterIdentity(seed: configuration.seed, user: name(user)))
                return StoredAdapter(
                    user: name(user), embeddingModel: configuration.embeddingModel,
                    adapter: try cold.updated(with: feedback, configuration: configuration.update).adapter,
                    isJournalled: true)
            }
            try await storage.save(records)
        }
        await storage.close()
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
        try tell(
            Line(
                "make", calls: adapters, since: start,
                note: "\(size) bytes, \(size / adapters) for each"))
    }

    /// Opens the file when the system has nothing of it in memory.
    private func openCold(_ tell: (Line) throws -> Void) async throws -> SQLiteStorage {
        let left = try dropPages(path)
        let start = ContinuousClock.now
        let storage = try await SQLiteStorage(path: path)
        let note =
            left == 0
            ? "no page of the file was in the system's cache; what is below the system may have some"
            : "dropping the file's pages from the system's cache left \(Benchmark.rounded(left * 100)) % there"
        try tell(Line("open", calls: 1, since: start, note: note))
        return storage
    }

    private func readStorage(_ tell: (Line) throws -> Void) async throws {
        let storage = try await openCold(tell)
        let users = users(reads, seed: 42)
        for name in ["load-cold", "load-warm"] {
            try tell(Line(name, try await timed(users) { try await storage.load($0) != nil }))
        }
        await storage.close()
    }

    /// Misses: users who are not in memory. Each is loaded, and the journal asked for what no saved adapter has seen.
    private func readEngine(_ tell: (Line) throws -> Void) async throws {
        let storage = try await openCold(tell)
        let users = users(reads, seed: 43)
        for name in ["miss-cold", "miss-warm"] {
            let engine = try engine(storage)
            let times = try await timed(users) { try await engine.personalize(embedding, for: $0).isPersonalized }
            guard engine.statistics().loaded == users.count else { throw WrongResult("\(name): not all were misses") }
            try tell(Line(name, times))
        }
        await storage.close()
    }

    private func prefetch(_ tell: (Line) throws -> Void) async throws {
        let storage = try await openCold(tell)
        let users = users(reads, seed: 44)
        for name in ["prefetch-cold", "prefetch-warm"] {
            let engine = try engine(storage)
            let start = ContinuousClock.now
            guard try await engine.prefetch(users) == users.count else {
                throw WrongResult("\(name): some are missing")
            }
            try tell(Line(name, calls: users.count, since: start))
            let times = try await timed(users) { try await engine.personalize(embedding, for: $0).isPersonalized }
            guard engine.statistics().loaded == users.count else {
                throw WrongResult("\(name): some were loaded again")
            }
            if name == "prefetch-warm" { try tell(Line("hit", times)) }
        }
        await storage.close()
    }

    /// Reads of random users where memory holds a tenth of all, and is full.
    private func readWithATenthResident(_ tell: (Line) throws -> Void) async throws {
        let storage = try await openCold(tell)
        let numbers = 2 * configuration.rank * configuration.dimension
        let each = (1 + configuration.update.optimizer.stateCountPerParameter) * numbers * 4 + 256
        let engine = try engine(storage, budget: adapters / 10 * each)
        let start = ContinuousClock.now
        _ = try await engine.prefetch(users(adapters / 10, seed: 45))
        let before = engine.statistics()
        try tell(
            Line("fill-a-tenth", calls: adapters / 10, since: start, note: "\(before.residentAdapters) are in memory"))
        let times = try await timed(users(reads, seed: 46)) {
            try await engine.personalize(embedding, for: $0).isPersonalized
        }
        let after = engine.statistics()
        guard after.residentAdapters <= adapters / 10, before.residentAdapters > adapters / 12 else {
            throw WrongResult("\(before.residentAdapters), then \(after.residentAdapters) in memory")
        }
        let share = Double(after.loaded - before.loaded) / Double(reads)
        try tell(
            Line(
                "read-a-tenth-resident", times,
                note: "\(Benchmark.rounded(share * 100)) % loaded, \(after.evicted - before.evicted) let go"))
        await storage.close()
    }

    /// Writes a file to the disk and asks the system to keep nothing of it in memory.
    ///
    /// - Returns: The share that the system has kept all the same.
    private func dropPages(_ path: String) throws -> Double {
        let descriptor = unsafe open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw WrongResult("\(path): errno \(errno)") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw WrongResult("fsync: errno \(errno)") }
        let size = Int(lseek(descriptor, 0, SEEK_END))
        #if os(Linux)
            let status = posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
            guard status == 0 else { throw WrongResult("posix_fadvise: \(status)") }
            guard let map = unsafe mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0), unsafe map != MAP_FAILED
            else {
                throw WrongResult("mmap: errno \(errno)")
            }
            defer { unsafe munmap(map, size) }
            var pages = [UInt8](repeating: 0, count: (size + 4095) / 4096)
            guard unsafe mincore(map, size, &pages) == 0 else { throw WrongResult("mincore: errno \(errno)") }
            return Double(pages.count { $0 & 1 == 1 }) / Double(pages.count)
        #else
            return 1
        #endif
    }
}

extension Benchmark {
    /// Runs the figures of a storage file in a folder that goes afterwards.
    static func store(_ options: Options) async throws {
        let folder = try PassingFolder("attune-store", in: options.folder)
        defer { folder.remove() }
        let adapters = options.adapters ?? (options.isQuick ? 20_000 : 1_000_000)
        let shape = options.shapes?.first ?? KernelBenchmark.Shape(dimension: 64, rank: 4)
        var lines: [StoreBenchmark.Line] = []
        try await StoreBenchmark(folder: folder.url, adapters: adapters, shape: shape).run { line in
            lines.append(line)
            guard !options.isJSON else { return }
            var text = line.name + String(repeating: " ", count: max(1, 24 - line.name.count))
            text += "\(line.calls)\tin \(rounded(line.seconds)) s"
            if let p50 = line.p50, let p99 = line.p99, let max = line.max {
                text += "\tp50 \(rounded(p50)) µs\tp99 \(rounded(p99)) µs\tmax \(rounded(max)) µs"
            } else {
                text += "\t\(rounded(line.seconds * 1e6 / Double(line.calls))) µs each"
            }
            print(text + (line.note.map { "\t\($0)" } ?? ""))
        }
        guard options.isJSON else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        print(String(decoding: try encoder.encode(["store": lines]), as: UTF8.self))
    }
}
