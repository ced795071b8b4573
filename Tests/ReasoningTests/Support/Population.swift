import LoRA
import Reasoning
import StorageTesting
import TensorCore

/// Users in groups of like taste, their episodes and adapters; the same for the same seed.
struct Population: DonorSource {
    struct User: Sendable {
        var name: String
        var group: Int
        var taste: [Float]
        var gain: Double
    }
    var builder = EpisodeBuilder()
    var users: [User] = []
    var adapters: [UserDigest: LoRAAdapter] = [:]

    static func unit(_ values: [Double]) -> [Float] {
        let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return values.map { Float($0 / norm) }
    }

    static func direction(_ generator: inout PhiloxGenerator) -> [Float] {
        unit((0..<AdaptationContext.tasteDimension).map { _ in generator.normal() })
    }

    /// - Parameters:
    ///   - sizes: The users of each group.
    ///   - noise: A quarter of the expected length of what is added to the group's direction, itself of length 1.
    ///   - gain: Draws a user's mean gain.
    init(
        _ sizes: [Int], noise: Double, seed: UInt64 = 1, withAdapters: Bool = true,
        gain: (inout PhiloxGenerator) -> Double = { 0.1 + 0.05 * $0.normal() }
    ) throws {
        var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
        let scale = 4 / Double(AdaptationContext.tasteDimension).squareRoot()
        for (group, size) in sizes.enumerated() {
            let middle = Self.direction(&generator)
            let common = try Self.adapter(builder, &generator)
            for i in 0..<size {
                let name = "user \(group).\(i)"
                let taste = Self.unit(middle.map { Double($0) + noise * scale * generator.normal() })
                users.append(User(name: name, group: group, taste: taste, gain: gain(&generator)))
                if withAdapters {
                    adapters[builder.key.digest(of: name)] = try Self.near(common, &generator)
                }
            }
        }
    }

    func digest(_ user: User) -> UserDigest { builder.key.digest(of: user.name) }

    func adapter(of user: UserDigest) async throws -> LoRAAdapter? { adapters[user] }

    /// Every user's episodes, `episodes` each.
    func allEpisodes(each count: Int = 2) -> [Episode] {
        users.flatMap { user in
            (1...count).map { version in
                builder.episode(
                    user: user.name, version: UInt64(version), taste: user.taste,
                    gain: user.gain + (version % 2 == 0 ? 0.01 : -0.01))
            }
        }
    }

    /// A bank that holds all episodes, in an order drawn by a seed.
    func bank(
        each count: Int = 2, shuffled seed: UInt64? = nil, without name: String? = nil,
        clock: ManualClock = ManualClock(),
        configuration: ReasoningBankConfiguration = ReasoningBankConfiguration()
    ) async throws -> InMemoryReasoningBank {
        let bank = InMemoryReasoningBank(clock: clock, configuration: configuration)
        var episodes = allEpisodes(each: count)
        if let name { episodes.removeAll { $0.user == builder.key.digest(of: name) } }
        if let seed {
            var generator = PhiloxGenerator(seed: seed, purpose: .shuffling)
            generator.shuffle(&episodes)
        }
        for episode in episodes { _ = try await bank.storePattern(episode) }
        return bank
    }

    static func adapter(_ builder: EpisodeBuilder, _ generator: inout PhiloxGenerator) throws -> LoRAAdapter {
        let shape = try AdapterShape(dimension: builder.dimension, rank: builder.rank)
        func matrix() throws -> Matrix<Float> {
            try Matrix(
                rows: (0..<builder.rank).map { _ in (0..<builder.dimension).map { _ in Float(generator.normal()) } })
        }
        return try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: 1, stream: 1), down: matrix(), up: matrix())
    }

    /// The adapter with a fifth of noise.
    static func near(_ adapter: LoRAAdapter, _ generator: inout PhiloxGenerator) throws -> LoRAAdapter {
        func noisy(_ matrix: Matrix<Float>) throws -> Matrix<Float> {
            try Matrix(
                rows: (0..<matrix.rows).map { matrix.row($0).map { $0 + 0.2 * Float(generator.normal()) } })
        }
        return try LoRAAdapter(
            shape: adapter.shape, identity: adapter.identity, down: noisy(adapter.down), up: noisy(adapter.up))
    }
}
