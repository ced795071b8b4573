import LoRA
import Reasoning
import SQLiteStorage
import StorageTesting
import TensorCore

/// A clock that stands still.
struct StillClock: ReasoningClock {
    var now: Timestamp
    var uptime: Double { 0 }
}

extension TemporaryFolder {
    /// A new bank in a file of its own.
    func bank(
        at path: String? = nil, capacity: Int = 1_000_000, clock: any ReasoningClock = SystemClock(),
        configuration: ReasoningBankConfiguration = ReasoningBankConfiguration()
    ) async throws -> SQLiteReasoningBank {
        try await SQLiteReasoningBank(
            try await SQLiteStorage(path: path ?? newPath()), capacity: capacity, clock: clock,
            configuration: configuration)
    }
}

extension EpisodeBuilder {
    /// A day before a moment.
    static func dayBefore(_ now: Timestamp) -> EpisodeBuilder {
        var builder = EpisodeBuilder()
        builder.start = Timestamp(microseconds: now.microseconds - 86_400_000_000)
        return builder
    }
}

/// Donors that are asked for, up to a number: then it fails.
final class CountedDonors: DonorSource {
    struct Stopped: Error {}
    private let donors: any DonorSource
    private let limit: Int
    private let asked = Lock<Int>(0)

    init(_ donors: any DonorSource, limit: Int = .max) {
        self.donors = donors
        self.limit = limit
    }

    var count: Int { asked.withLock { $0 } }

    func adapter(of user: UserDigest) async throws -> LoRAAdapter? {
        let number = asked.withLock { asked -> Int in
            asked += 1
            return asked
        }
        if number > limit { throw Stopped() }
        return try await donors.adapter(of: user)
    }
}
