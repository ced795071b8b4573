package import LoRA
package import Reasoning
internal import TensorCore

/// Groups of users alike in taste, in gain and in their adapters: what a consolidation is to find.
package struct PlantedDonors: DonorSource {
    package struct Group: Sendable {
        var name: String
        /// Which of the taste's values stands out.
        var taste: Int
        var users: Int
        var gain: Double

        package init(name: String, taste: Int, users: Int, gain: Double) {
            (self.name, self.taste, self.users, self.gain) = (name, taste, users, gain)
        }
    }
    package let builder: EpisodeBuilder
    package private(set) var episodes: [Episode] = []
    private var adapters: [UserDigest: LoRAAdapter] = [:]

    package init(_ builder: EpisodeBuilder, _ groups: [Group], versions: ClosedRange<Int> = 1...2) throws {
        self.builder = builder
        var generator = PhiloxGenerator(seed: 11, purpose: .simulation)
        let shape = try AdapterShape(dimension: builder.dimension, rank: builder.rank)
        for group in groups {
            let (down, up) = (try Self.matrix(shape, &generator), try Self.matrix(shape, &generator))
            for i in 0..<group.users {
                let name = "\(group.name) \(i)"
                var taste = (0..<AdaptationContext.tasteDimension).map { _ in 0.05 * Float(generator.normal()) }
                taste[group.taste] += 1
                let gain = group.gain * (1 + 0.2 * Double(i % 5 - 2))
                for version in versions {
                    episodes.append(
                        builder.episode(user: name, version: UInt64(version), taste: taste, gain: gain, reward: 0.9))
                }
                adapters[builder.key.digest(of: name)] = try LoRAAdapter(
                    shape: shape, identity: AdapterIdentity(seed: 1, user: name),
                    down: Self.matrix(shape, &generator, around: down), up: Self.matrix(shape, &generator, around: up))
            }
        }
    }

    package func adapter(of user: UserDigest) async throws -> LoRAAdapter? { adapters[user] }

    package func digest(_ user: String) -> UserDigest { builder.key.digest(of: user) }

    /// Stores all episodes but a user's, in an order drawn by a seed.
    package func fill(_ bank: any ReasoningBank, seed: UInt64 = 0, without user: UserDigest? = nil) async throws {
        var order = episodes.filter { $0.user != user }
        var generator = PhiloxGenerator(seed: seed, purpose: .shuffling)
        generator.shuffle(&order)
        for episode in order { _ = try await bank.storePattern(episode) }
    }

    private static func matrix(
        _ shape: AdapterShape, _ generator: inout PhiloxGenerator, around middle: Matrix<Float>? = nil
    ) throws -> Matrix<Float> {
        try Matrix(
            rows: (0..<shape.rank).map { k in
                (0..<shape.dimension).map { j in
                    (middle.map { $0[k, j] } ?? 0) + (middle == nil ? 1 : 0.2) * Float(generator.normal())
                }
            })
    }
}
