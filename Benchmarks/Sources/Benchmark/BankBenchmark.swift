import Attune
import Benchmarking
import Foundation

/// A bank of very many episodes in a file: storing them, opening it, consolidating it, and going on after `kill -9`.
struct BankResult: Codable {
    let episodes: Int
    let users: Int
    let storeSeconds: Double
    let fileBytes: Int
    var openSeconds = 0.0
    /// The memory of a process that has opened it, and that it had before.
    var openBytes = 0
    var bytesBefore = 0
    var consolidateSeconds = 0.0
    /// The most memory of the process that opened and consolidated it.
    var peakBytes = 0
    var skills = 0
    var populationDonors = 0
    /// After so many seconds the process was killed; a new one took so many, and made the same.
    var killedAfter = 0.0
    var resumedSeconds = 0.0
}

/// What one process did with the file.
private struct BankRun: Codable {
    var openSeconds = 0.0
    var openBytes = 0
    var bytesBefore = 0
    var consolidateSeconds = 0.0
    var peakBytes = 0
    var skills: [String] = []
    var populationDonors = 0
}

/// Users in groups of like taste, some of which gain; their adapters are made when they are asked for, and then gone.
private struct MadeUsers: DonorSource {
    static let shape = (dimension: 64, rank: 4)
    let users: Int
    private let centers: [[Float]]
    private let common: (down: [Float], up: [Float])

    init(users: Int) {
        self.users = users
        var random = PhiloxGenerator(seed: 71, purpose: .simulation)
        func direction(_ count: Int) -> [Float] {
            let values = (0..<count).map { _ in Float(random.normal()) }
            let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
            return values.map { $0 / norm }
        }
        centers = (0..<10).map { _ in direction(AdaptationContext.tasteDimension) }
        common = (direction(Self.shape.dimension * Self.shape.rank), direction(Self.shape.dimension * Self.shape.rank))
    }

    func adapter(of digest: UserDigest) async throws -> LoRAAdapter? {
        var random = PhiloxGenerator(seed: 72, stream: digest.high, purpose: .simulation)
        func factor(_ common: [Float]) throws -> Matrix<Float> {
            try Matrix(
                rows: Self.shape.rank, columns: Self.shape.dimension,
                elements: common.map { $0 + random.uniform(in: Float(-0.1)..<0.1) })
        }
        let (down, up) = (try factor(common.down), try factor(common.up))
        return try LoRAAdapter(
            shape: AdapterShape(dimension: Self.shape.dimension, rank: Self.shape.rank),
            identity: AdapterIdentity(seed: 72, stream: digest.high), down: down, up: up)
    }

    /// Episode number `index`, of user `index % users`; later ones are younger.
    func episode(_ index: Int, of count: Int, now: Timestamp, _ random: inout PhiloxGenerator) -> Episode {
        let user = index % users
        let group = user % centers.count
        let taste = centers[group].map { $0 + 0.03 * Float(random.normal()) }
        let gain = 0.05 + 0.01 * Double(group) + 0.1 * random.normal()
        let age = 86_400_000_000 * 20 * Int64(count - index) / Int64(count)
        return Episode(
            user: UserDigest(high: UInt64(user), low: 7), version: UInt64(index / users + 1), sessionID: "made",
            task: ObjectiveKind.ranking.rawValue,
            context: AdaptationContext(
                objective: .ranking, seen: index / users, taste: taste, dimension: Self.shape.dimension,
                rank: Self.shape.rank),
            action: AdaptationAction(learningRate: [0.125, 0.25, 0.5][index % 3], clipThreshold: 2), lossBefore: 1,
            lossAfter: 0.9,
            outcome: AdaptationOutcome(
                gain: gain, benefit: gain, reward: min(1, max(0, 0.5 + gain)), success: gain > 0),
            recordedAt: Timestamp(microseconds: now.microseconds - age))
    }
}

extension Benchmark {
    static func bank(_ options: Options) throws {
        let sizes = options.isQuick ? [(20_000, 1_000)] : [(1_000_000, 20_000), (1_000_000, 200_000)]
        var results: [BankResult] = []
        for (episodes, users) in sizes {
            let folder = try PassingFolder("attune-bank", in: options.folder)
            defer { folder.remove() }
            let result = try bank(episodes, users, folder.url)
            results.append(result)
            if !options.isJSON { print(lines(result)) }
        }
        if options.isJSON { print(String(decoding: try JSONEncoder().encode(["bank": results]), as: UTF8.self)) }
    }

    private static func lines(_ result: BankResult) -> String {
        func megabytes(_ bytes: Int) -> String { "\(rounded(Double(bytes) / 1e6)) MB" }
        return """
            \(result.episodes) episodes of \(result.users) users, \(megabytes(result.fileBytes)) in the file
              store        \(rounded(result.storeSeconds)) s, \(rounded(Double(result.episodes) / result.storeSeconds)) a second
              open         \(rounded(result.openSeconds)) s, \(megabytes(result.openBytes)) (\(megabytes(result.bytesBefore)) before)
              consolidate  \(rounded(result.consolidateSeconds)) s, \(megabytes(result.peakBytes)) at most; \(result.skills) skills, \
            \(result.populationDonors) donors of the start of everybody
              killed after \(rounded(result.killedAfter)) s of it, opened and gone on with in \(rounded(result.resumedSeconds)) s: \
            the same skills
            """
    }

    private static func bank(_ episodes: Int, _ users: Int, _ folder: URL) throws -> BankResult {
        let (path, copy) = (folder.appending(path: "a.db").path, folder.appending(path: "b.db").path)
        let seconds = try JSONDecoder().decode(
            Double.self, from: try child(["bank-store", path, "\(episodes)", "\(users)"]))
        let bytes = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
        var result = BankResult(episodes: episodes, users: users, storeSeconds: seconds, fileBytes: bytes)
        try FileManager.default.copyItem(atPath: path, toPath: copy)
        let whole = try JSONDecoder().decode(BankRun.self, from: try child(["bank-run", path, "\(users)"]))
        result.openSeconds = whole.openSeconds
        result.openBytes = whole.openBytes
        result.bytesBefore = whole.bytesBefore
        result.consolidateSeconds = whole.consolidateSeconds
        result.peakBytes = whole.peakBytes
        result.skills = whole.skills.count
        result.populationDonors = whole.populationDonors
        result.killedAfter = 0.6 * whole.consolidateSeconds
        try killed(["bank-run", copy, "\(users)"], after: whole.openSeconds + result.killedAfter)
        let start = ContinuousClock.now
        let rest = try JSONDecoder().decode(BankRun.self, from: try child(["bank-run", copy, "\(users)"]))
        result.resumedSeconds = (ContinuousClock.now - start) / .seconds(1)
        guard rest.skills == whole.skills, rest.populationDonors == whole.populationDonors else {
            throw WrongResult("after a kill there are \(rest.skills.count) skills, others than \(whole.skills.count)")
        }
        return result
    }

    /// This program with other arguments, killed in the midst of it.
    private static func killed(_ arguments: [String], after seconds: Double) throws {
        let process = Process()
        guard let path = Bundle.main.executablePath else { throw WrongResult("this program's path is unknown") }
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        Thread.sleep(forTimeInterval: seconds)
        guard process.isRunning else { throw WrongResult("it had ended before it was to be killed") }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    static func bankStore(_ arguments: [String]) async throws {
        guard arguments.count == 3, let episodes = Int(arguments[1]), let users = Int(arguments[2]), users > 0 else {
            throw UsageError("bank-store takes a path and two numbers")
        }
        let made = MadeUsers(users: users)
        let bank = try await SQLiteReasoningBank(try await SQLiteStorage(path: arguments[0]))
        var random = PhiloxGenerator(seed: 73, purpose: .simulation)
        let now = SystemClock().now
        var storing = Duration.zero
        for first in stride(from: 0, to: episodes, by: 256) {
            let batch = (first..<min(first + 256, episodes)).map { made.episode($0, of: episodes, now: now, &random) }
            let start = ContinuousClock.now
            for result in await bank.storePatterns(batch) { _ = try result.get() }
            storing += ContinuousClock.now - start
        }
        await bank.storage.close()
        print(storing / .seconds(1))
    }

    static func bankRun(_ arguments: [String]) async throws {
        guard arguments.count == 2, let users = Int(arguments[1]), users > 0 else {
            throw UsageError("bank-run takes a path and a number")
        }
        let made = MadeUsers(users: users)
        var run = BankRun()
        run.bytesBefore = try residentMemory()
        var start = ContinuousClock.now
        let bank = try await SQLiteReasoningBank(try await SQLiteStorage(path: arguments[0]))
        run.openSeconds = (ContinuousClock.now - start) / .seconds(1)
        run.openBytes = try residentMemory()
        start = ContinuousClock.now
        let report = try await bank.autoConsolidate(ConsolidationPolicy(), donors: made)
        run.consolidateSeconds = (ContinuousClock.now - start) / .seconds(1)
        run.peakBytes = try processMemory("VmHWM")
        run.populationDonors = report.populationDonors
        run.skills = bank.skills.map { skill in
            "\(skill.id) \(skill.donors.count) \(skill.evidence.gain.mean) \(skill.learningRate) "
                + "\(skill.initialization.map { "\($0.id)" } ?? "")"
        }
        await bank.storage.close()
        print(String(decoding: try JSONEncoder().encode(run), as: UTF8.self))
    }
}
