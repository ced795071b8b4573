import Attune
import Benchmarking
import CReference
import Foundation

/// What an engine with many users takes.
struct ScaleResult: Codable {
    let dimension: Int
    let rank: Int
    let users: Int
    /// One thread, users in random order, each looked up once to a handle.
    let updatesPerSecond: Double
    let nanosecondsPerUpdate: Double
    /// Two threads over the updates of one, each with users of its own.
    let twoThreadSpeedup: Double
    /// Random users, in nanoseconds of one embedding.
    let nanosecondsPerReadByHandle: Double
    let nanosecondsPerReadByID: Double
    /// The same by the limit's kernel alone; absent where the processor does not run it.
    let nanosecondsPerBareRead: Double?
    /// The process's memory over what it was without users, for each of them.
    let bytesPerUser: Double
    /// The bytes of a user's numbers.
    let floatBytes: Int
    let residentBytes: Int
    /// Updates of random users where a tenth fits in memory and a store in memory holds the rest.
    let nanosecondsPerUpdateWithATenthResident: Double
    /// The share of those updates that had to load an adapter.
    let loadedShare: Double

    enum CodingKeys: String, CodingKey {
        case dimension, rank, users
        case updatesPerSecond = "updates_per_second"
        case nanosecondsPerUpdate = "ns_per_update"
        case twoThreadSpeedup = "two_thread_speedup"
        case nanosecondsPerReadByHandle = "ns_per_read_by_handle"
        case nanosecondsPerReadByID = "ns_per_read_by_id"
        case nanosecondsPerBareRead = "ns_per_bare_read"
        case bytesPerUser = "bytes_per_user"
        case floatBytes = "float_bytes"
        case residentBytes = "resident_bytes"
        case nanosecondsPerUpdateWithATenthResident = "ns_per_update_tenth_resident"
        case loadedShare = "loaded_share"
    }
}

extension Benchmark {
    /// Every size in a process of its own, so that memory is that size's alone.
    static func scale(_ options: Options) throws {
        var sizes: [(Int, Int, Int)] = [(64, 4, 100), (64, 4, 1_000), (64, 4, 10_000)]
        if !options.isQuick { sizes += [(64, 4, 100_000), (64, 4, 1_000_000)] }
        sizes += [(384, 8, 100), (384, 8, 1_000), (384, 8, 10_000)]
        if !options.isQuick { sizes.append((384, 8, 100_000)) }
        var results: [ScaleResult] = []
        if !options.isJSON {
            print(
                "d/r, users: updates/s (ns), two threads, read by handle / by id / by the bare kernel (ns), "
                    + "bytes per user (of its numbers), "
                    + "update with a tenth resident (ns, share loaded)")
        }
        for (dimension, rank, users) in sizes {
            let data = try child(["scale-one", "\(dimension)", "\(rank)", "\(users)"])
            let result = try JSONDecoder().decode(ScaleResult.self, from: data)
            results.append(result)
            guard !options.isJSON else { continue }
            print(
                "\(dimension)/\(rank), \(users): \(Int(result.updatesPerSecond)) "
                    + "(\(rounded(result.nanosecondsPerUpdate))), \(rounded(result.twoThreadSpeedup))x, "
                    + "\(rounded(result.nanosecondsPerReadByHandle)) / \(rounded(result.nanosecondsPerReadByID)) / "
                    + "\(result.nanosecondsPerBareRead.map(rounded) ?? "?"), "
                    + "\(rounded(result.bytesPerUser)) (\(result.floatBytes)), "
                    + "\(rounded(result.nanosecondsPerUpdateWithATenthResident)), "
                    + "\(rounded(result.loadedShare * 100)) %")
        }
        guard options.isJSON else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        print(String(decoding: try encoder.encode(["scale": results]), as: UTF8.self))
    }

    /// One size, as JSON.
    static func scaleOne(_ numbers: [Int]) async throws {
        guard numbers.count == 3, numbers[1] > 0, numbers[1] <= min(256, numbers[0]), numbers[0] <= 65_536,
            (2...10_000_000).contains(numbers[2])
        else { throw UsageError("scale-one takes a dimension, a rank of at most 256, and 2 to 10,000,000 users") }
        let work = try await ManyUsers(dimension: numbers[0], rank: numbers[1], users: numbers[2])
        let result = try await work.measure()
        print(String(decoding: try JSONEncoder().encode(result), as: UTF8.self))
    }
}

/// An engine with many users, all of whom have learned something.
private final class ManyUsers: Sendable {
    private let dimension: Int
    private let rank: Int
    private let names: [String]
    private let engine: PersonalizationEngine
    private let handles: [UserHandle]
    private let feedback: [[Feedback]]
    private let memoryBefore: Int
    private let memoryAfter: Int
    private let configuration: EngineConfiguration

    init(dimension: Int, rank: Int, users: Int) async throws {
        self.dimension = dimension
        self.rank = rank
        var random = PhiloxGenerator(seed: 27, purpose: .simulation)
        let size = 1.7 / Float(dimension).squareRoot()
        func vector() -> [Float] { (0..<dimension).map { _ in random.uniform(in: -size..<size) } }
        feedback = (0..<4).map { _ in [Feedback(embedding: vector(), signal: .target(vector()))] }
        var update = UpdateConfiguration(dimension: dimension)
        update.fading = PerObjective(all: 0)
        configuration = EngineConfiguration(dimension: dimension, rank: rank, hasBias: false, update: update)
        names = (0..<users).map { "user-\($0)" }
        memoryBefore = try residentMemory()
        engine = try PersonalizationEngine(configuration: configuration)
        var handles: [UserHandle] = []
        handles.reserveCapacity(users)
        for name in names { try await engine.updateAdapter(for: name, with: feedback[0]) }
        memoryAfter = try residentMemory()
        for name in names { handles.append(try engine.handle(for: name)) }
        self.handles = handles
    }

    /// Nanoseconds of one call, the best of some rounds of random users.
    ///
    /// - Parameter prepare: What callers have at hand for the users; made outside the timer.
    private func best<Requests>(
        _ calls: Int, _ prepare: (_ users: [Int]) -> Requests, _ body: (_ requests: Requests) async throws -> Void
    ) async throws -> Double {
        var random = PhiloxGenerator(seed: 28, purpose: .simulation)
        var best = Double.infinity
        for _ in 0..<5 {
            let requests = prepare((0..<calls).map { _ in random.integer(below: names.count) })
            let clock = ContinuousClock()
            let start = clock.now
            try await body(requests)
            best = min(best, (clock.now - start) / .nanoseconds(1) / Double(calls))
        }
        return best
    }

    /// Feedback in memory of its own: counting references to the same arrays, two threads would wait for each other.
    private func ownFeedback() -> [[Feedback]] {
        feedback.map { batch in
            batch.map { sample in
                guard case .target(let target) = sample.signal else { return sample }
                return Feedback(
                    embedding: sample.embedding.map { $0 }, signal: .target(target.map { $0 }))
            }
        }
    }

    private func update(_ users: [UserHandle]) async throws {
        let (engine, feedback) = (engine, ownFeedback())
        var i = 0
        for user in users {
            try await engine.updateAdapter(for: user, with: feedback[i & 3])
            i += 1
        }
    }

    /// Nanoseconds of the limit's read of as many adapters in random order, in one piece of memory on huge pages; `nil`
    /// where the processor does not run it. Each waits for the one before, as calls of an engine do.
    private func bareRead(_ calls: Int) async throws -> Double? {
        guard let kernels = unsafe reference_limit()?.pointee else { return nil }
        let (d, r) = (dimension, rank)
        let size = 2 * r * d
        let adapters = Block(names.count * size, huge: true) { i in Float(i & 1023) * 1e-5 }
        let (x, y) = (Block(d) { Float($0) * 1e-3 }, Block(d) { _ in 0 })
        return try await best(calls, { $0.map { $0 * size } }) { places in
            var sign = 0
            for place in places {
                // Always 0, but neither the compiler nor the processor knows before the output is there.
                let a = unsafe adapters.base + place + sign
                unsafe kernels.forward(d, r, a, a + r * d, x.base, y.base, 1)
                sign = Int(y[0].bitPattern >> 31)
            }
        }
    }

    func measure() async throws -> ScaleResult {
        let calls = 200_000
        let single = try await best(calls, { $0.map { self.handles[$0] } }) { try await self.update($0) }
        // Users of one half and of the other, so that two threads never meet in one.
        let double = try await best(
            calls,
            { users in
                [0, 1].map { half in users.filter { $0 & 1 == half }.map { self.handles[$0] } }
            }
        ) { halves in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for half in halves { group.addTask { try await self.update(half) } }
                try await group.waitForAll()
            }
        }
        var output = [Float](repeating: 0, count: dimension)
        let byHandle = try await best(calls, { $0.map { self.handles[$0] } }) { users in
            for (i, user) in users.enumerated() {
                try await self.engine.personalize(self.feedback[i & 3][0].embedding, for: user, into: &output)
            }
        }
        let byID = try await best(calls, { $0.map { self.names[$0] } }) { users in
            for (i, user) in users.enumerated() {
                blackHole(try await self.engine.personalize(self.feedback[i & 3][0].embedding, for: user))
            }
        }
        let bare = try await bareRead(calls)
        let tight = try await tenthResident()
        let floats = 2 * rank * dimension * 4
        return ScaleResult(
            dimension: dimension, rank: rank, users: names.count, updatesPerSecond: 1e9 / single,
            nanosecondsPerUpdate: single, twoThreadSpeedup: single / double, nanosecondsPerReadByHandle: byHandle,
            nanosecondsPerReadByID: byID, nanosecondsPerBareRead: bare,
            bytesPerUser: Double(memoryAfter - memoryBefore) / Double(names.count), floatBytes: floats,
            residentBytes: memoryAfter, nanosecondsPerUpdateWithATenthResident: tight.time,
            loadedShare: tight.loadedShare)
    }

    /// The same where memory holds a tenth of the users.
    private func tenthResident() async throws -> (time: Double, loadedShare: Double) {
        // Of a million users a tenth says the same.
        let users = min(names.count, 100_000)
        var configuration = configuration
        configuration.residentByteBudget = max(1, users / 10) * (2 * rank * dimension * 4 + 256)
        let engine = try PersonalizationEngine(configuration: configuration)
        for name in names.prefix(users) { try await engine.updateAdapter(for: name, with: feedback[0]) }
        let before = engine.statistics()
        var random = PhiloxGenerator(seed: 29, purpose: .simulation)
        let calls = 20_000
        let clock = ContinuousClock()
        let start = clock.now
        for i in 0..<calls {
            try await engine.updateAdapter(for: names[random.integer(below: users)], with: feedback[i & 3])
        }
        let time = (clock.now - start) / .nanoseconds(1) / Double(calls)
        let after = engine.statistics()
        guard after.residentAdapters <= max(1, users / 10), after.updates - before.updates == calls else {
            throw WrongResult("a tenth resident: \(after)")
        }
        return (time, Double(after.loaded - before.loaded) / Double(calls))
    }
}

/// The process's memory, in bytes.
func residentMemory() throws -> Int {
    let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
    guard let pages = text.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
        throw WrongResult("/proc/self/statm holds \(text)")
    }
    return pages * 4096
}

/// A figure of the process's memory, in bytes.
func processMemory(_ name: String) throws -> Int {
    let text = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = text.split(separator: "\n").first { $0.hasPrefix(name + ":") }
    guard let kilobytes = line?.split(whereSeparator: { !$0.isNumber }).first.flatMap({ Int($0) }) else {
        throw WrongResult("/proc/self/status has no \(name)")
    }
    return kilobytes * 1024
}
