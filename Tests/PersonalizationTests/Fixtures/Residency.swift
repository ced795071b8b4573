import LoRA
import Telemetry
import TensorCore
import Testing

@testable import Personalization

extension Script {
    /// Settings under which so many adapters fit in memory, and not a byte more.
    func configuration(limit: Int, isStrict: Bool = false) throws -> EngineConfiguration {
        var configuration = configuration(isStrict: isStrict)
        configuration.residentByteBudget = limit * configuration.bytesPerAdapter(try configuration.validatedShape())
        return configuration
    }

    /// An engine with room for so many adapters.
    func engine(
        limit: Int, store: any AdapterStore = InMemoryAdapterStore(), isStrict: Bool = false,
        reporting: Reporting = Reporting()
    ) throws -> PersonalizationEngine {
        try PersonalizationEngine(
            configuration: configuration(limit: limit, isStrict: isStrict), store: store, reporting: reporting)
    }
}

extension PersonalizationEngine {
    /// The users whose adapters are in memory.
    var residents: Set<String> {
        var users: Set<String> = []
        for shard in allShards { shard.withLock { $0.forEach { _ = users.insert($0.user) } } }
        return users
    }

    /// Fails where the number of adapters that the engine goes by is not that of those in memory. When nothing is running.
    func expectExactCount(_ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(resident.adapters == statistics().residentAdapters, comment, sourceLocation: sourceLocation)
    }
}

extension TroubledStore {
    /// Makes so many of the next calls fail.
    func fail(_ call: Call, times: Int) { for _ in 0..<times { fail(call, with: Fault()) } }
}
