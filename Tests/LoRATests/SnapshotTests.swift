import Foundation
import TensorCore
import TestSupport
import Testing

@testable import LoRA

/// Adapters as bytes: what is read goes on to the bit as what was written; nothing else is read.
struct SnapshotTests {
    static let seed: UInt64 = 0x5A9
    static let optimizers: [Optimizer] = [
        .sgd, .momentum(), .riemannian(), .adaGrad(), .adam(), .adamW(), .doG(),
    ]

    /// An adapter with some history, and what it goes on with.
    private struct History {
        var random: RandomCase
        var adapter: LoRAAdapter
        var configuration: UpdateConfiguration
        let catalogue: ItemCatalogue

        init(_ stream: Int, _ optimizer: Optimizer) throws {
            var random = RandomCase(seed: SnapshotTests.seed, stream)
            let (d, r) = random.pick([(5, 1), (16, 4), (33, 3), (64, 8)])
            let shape = try AdapterShape(
                dimension: d, rank: r, alpha: random.pick([Float(r), 3.5]),
                scaling: random.pick(AdapterShape.Scaling.allCases), hasBias: random.generator.bernoulli(0.5),
                normalizesOutput: random.generator.bernoulli(0.2))
            let identity = AdapterIdentity(seed: random.generator.next(), stream: random.generator.next())
            if random.generator.bernoulli(0.5) {
                let donorShape = try AdapterShape(dimension: d, rank: r, hasBias: shape.hasBias)
                var donors: [(LoRAAdapter, Double)] = []
                for _ in 0..<3 { donors.append((try random.adapter(donorShape), 1)) }
                adapter = try LoRAAdapter(
                    shape: shape, identity: identity, startingFrom: AdapterPrior(merging: donors, rank: r))
            } else {
                adapter = LoRAAdapter(shape: shape, identity: identity)
            }
            catalogue = try random.catalogue(12, d)
            let canProtect: Bool =
                switch optimizer {
                case .sgd, .momentum: true
                default: false
                }
            configuration = UpdateConfiguration(
                optimizer: optimizer,
                schedule: random.pick([
                    Schedule(), Schedule(.reduceOnPlateau(factor: 0.5, patience: 1, cooldown: 2)),
                    Schedule(.cosine(period: 7), warmupSteps: 3),
                ]), fading: PerObjective(all: canProtect ? 0 : random.pick([0, 0.03])),
                elasticWeightConsolidation: canProtect && random.generator.bernoulli(0.5)
                    ? ElasticWeightConsolidation(strength: 0.4) : nil,
                selfAudit: random.generator.bernoulli(0.3) ? SelfAudit(prior: 0.7, share: random.pick([0, 0.1])) : nil,
                driftForking: random.generator.bernoulli(0.3)
                    ? DriftForking(threshold: 0.01, minimumUpdates: 2) : nil)
            self.random = random
            try goOn(6)
            if configuration.elasticWeightConsolidation != nil { adapter.consolidate() }
            try goOn(4)
        }

        mutating func batch() -> [Feedback] {
            (0..<(1 + random.generator.integer(below: 3))).map { _ in
                random.feedback(random.pick(SignalKind.allCases), catalogue)
            }
        }

        mutating func goOn(_ steps: Int) throws {
            for _ in 0..<steps { _ = try adapter.update(with: batch(), configuration: configuration) }
        }
    }

    @Test(arguments: optimizers)
    func anAdapterThatWasReadGoesOnToTheBit(_ optimizer: Optimizer) throws {
        for stream in 0..<underSanitizer(6, otherwise: 24) {
            var history = try History(stream, optimizer)
            let bytes = history.adapter.snapshot()
            var read = try LoRAAdapter(snapshot: bytes)
            #expect(Snapshot(read) == Snapshot(history.adapter), "\(history.random.description)")
            #expect(read.shape == history.adapter.shape && read.identity == history.adapter.identity)
            #expect(read.startedFrom == history.adapter.startedFrom)
            #expect(read.snapshot() == bytes, "\(history.random.description)")
            for _ in 0..<8 {
                let batch = history.batch()
                let report = try history.adapter.update(with: batch, configuration: history.configuration)
                let other = try read.update(with: batch, configuration: history.configuration)
                #expect(other.version == report.version && read.stateHash == history.adapter.stateHash)
            }
            #expect(read.snapshot() == history.adapter.snapshot(), "\(history.random.description)")
        }
    }

    @Test func aFlippedBitOrACutIsNoticed() throws {
        for (stream, optimizer) in [(0, Optimizer.sgd), (1, .adam()), (2, .doG())] {
            let bytes = try History(stream, optimizer).adapter.snapshot()
            for i in bytes.indices {
                var damaged = bytes
                damaged[i] ^= 1 << UInt8(i % 8)
                #expect(throws: LoRAError.self, "byte \(i)") { try LoRAAdapter(snapshot: damaged) }
            }
            for count in 0..<bytes.count {
                let error = #expect(throws: LoRAError.self) { try LoRAAdapter(snapshot: Array(bytes[..<count])) }
                #expect(error?.code == .malformedSnapshot, "\(count) bytes")
            }
            #expect(throws: LoRAError.self) { try LoRAAdapter(snapshot: bytes + [0]) }
        }
    }

    private func signed(_ bytes: [UInt8]) -> [UInt8] {
        var writer = ByteWriter(capacity: 8)
        writer.append(Checksum.of(bytes.dropLast(8)))
        return bytes.dropLast(8) + writer.bytes
    }

    /// Bytes that somebody made on purpose, with a checksum that fits: refused, or an adapter whose every step stays finite.
    @Test func hostileBytesDoNoHarm() throws {
        let interesting: [UInt32] = [
            0, 1, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0001, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x7E96_7699, 0x8000_0000, .max,
            0x5015_02F9, 0x0000_0100,
        ]
        let each = underSanitizer(60, otherwise: 300)
        var (refused, read) = (0, 0)
        for (number, optimizer) in Self.optimizers.enumerated() {
            var history = try History(100 + number, optimizer)
            let bytes = history.adapter.snapshot()
            for _ in 0..<each {
                var hostile = bytes
                for _ in 0..<(1 + history.random.generator.integer(below: 3)) {
                    // Half of them in the header, where most is decided.
                    let words = history.random.generator.bernoulli(0.5) ? 16 : bytes.count / 4
                    let at = 4 * history.random.generator.integer(in: 3..<words)
                    let word = history.random.pick(interesting)
                    for k in 0..<4 { hostile[at + k] = UInt8(truncatingIfNeeded: word >> UInt32(8 * k)) }
                }
                guard var adapter = try? LoRAAdapter(snapshot: signed(hostile)) else {
                    refused += 1
                    continue
                }
                read += 1
                let d = adapter.shape.dimension
                guard d == history.adapter.shape.dimension else { continue }
                for _ in 0..<3 {
                    let before = adapter.stateHash
                    let feedback = Feedback(
                        embedding: history.random.numbers(d), signal: .target(history.random.numbers(d)))
                    do {
                        _ = try adapter.update(with: [feedback], configuration: history.configuration)
                    } catch {
                        #expect(adapter.stateHash == before, "\(history.random.description)")
                    }
                    #expect(adapter.parameters.withBuffer { Kernels.allFinite($0) }, "\(history.random.description)")
                }
            }
        }
        let least = 2 * each / 3
        #expect(refused > least && read > least, "\(refused) refused, \(read) read: the test has lost its point")
    }

    /// Moments that no optimizer made would break the bound that says when a step needs no way back.
    @Test func momentsThatCannotBeAreNotTrusted() throws {
        var random = RandomCase(seed: Self.seed, 999)
        let shape = try AdapterShape(dimension: 8, rank: 2)
        var adapter = try random.adapter(shape)
        let configuration = UpdateConfiguration(optimizer: .adam())
        let feedback = [Feedback(embedding: random.numbers(8), signal: .target(random.numbers(8)))]
        _ = try adapter.update(with: feedback, configuration: configuration)
        var read = try LoRAAdapter(snapshot: adapter.snapshot())
        #expect(read.optimizerState?.hasProvenMoments == false)
        _ = try read.update(with: feedback, configuration: configuration)
        #expect(read.optimizerState?.hasProvenMoments == true)

        adapter.optimizerState?.storage.withBuffer { moments in
            moments[0] = .greatestFiniteMagnitude
            moments[shape.parameterCount] = 0
        }
        read = try LoRAAdapter(snapshot: adapter.snapshot())
        let before = read.stateHash
        #expect(throws: LoRAError.self) { try read.update(with: feedback, configuration: configuration) }
        #expect(read.stateHash == before)
    }

    @Test func otherVersionsAreRefusedByName() throws {
        let bytes = try History(0, .sgd).adapter.snapshot()
        for (at, what) in [(8, "format version 2"), (12, "version 2 of the numerics")] {
            var other = bytes
            other[at] = 2
            let error = #expect(throws: LoRAError.self) { try LoRAAdapter(snapshot: signed(other)) }
            #expect(error?.code == .unsupported && error?.message.contains(what) == true)
        }
        let error = #expect(throws: LoRAError.self) { try LoRAAdapter(snapshot: Array("not an adapter".utf8)) }
        #expect(error?.message.contains("first 8 bytes") == true)
    }

    /// A snapshot of version 1 that a script wrote from the description of the format: it is read for ever.
    @Test func aSnapshotOfVersion1IsRead() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures/adapter-1.snapshot")
        let bytes = try [UInt8](Data(contentsOf: file))
        let adapter = try LoRAAdapter(snapshot: bytes)
        let shape = adapter.shape
        #expect(shape.dimension == 5 && shape.rank == 2 && shape.alpha == 3 && shape.scaling == .rankStabilized)
        #expect(shape.hasBias && !shape.normalizesOutput)
        #expect(adapter.identity == AdapterIdentity(seed: 0x0123_4567_89AB_CDEF, stream: 0xFEDC_BA98_7654_3210))
        #expect(adapter.version == 12 && adapter.steps == 11)
        // All floats count up in eighths, through all parts.
        let n = shape.parameterCount
        func eighths(_ range: Range<Int>) -> [Float] { range.map { Float($0 + 1) / 8 } }
        #expect(adapter.values == eighths(0..<n))
        let start = try #require(adapter.start)
        #expect(start.prior == 0x1122_3344_5566_7788 && start.rows == 1)
        #expect(start.parameters.withBuffer(\.array) == eighths(n..<(2 * n)))
        let optimizer = try #require(adapter.optimizerState)
        #expect(optimizer.kind == .adam && optimizer.steps == 9)
        #expect(optimizer.storage.withBuffer(\.array) == eighths((2 * n)..<(4 * n)))
        let protection = try #require(adapter.protection)
        #expect(protection.accumulated == 4)
        #expect(protection.storage.withBuffer(\.array) == eighths((4 * n)..<(7 * n)))
        let plateau = try #require(adapter.plateau)
        #expect(plateau.best == 0.75 && plateau.factor == 0.5 && plateau.badSteps == 3 && plateau.cooldown == 2)
        #expect(adapter.snapshot() == bytes)
    }
}
