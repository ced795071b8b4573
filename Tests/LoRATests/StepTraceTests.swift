import TensorCore
import Testing

@testable import LoRA

/// What an adapter would have answered without its last step, and what the next batch shows of it.
@Suite("Traces of steps")
struct StepTraceTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var optimizer = Optimizer.sgd
        var batch = 1
        var fading: Float = 0
        var hasBias = true
        var normalizes = false
        var isWarm = false
        var protects = false
        var testDescription: String {
            "\(optimizer.name), batch \(batch), fading \(fading), bias \(hasBias), normalised \(normalizes), warm \(isWarm), "
                + "EWC \(protects)"
        }
    }

    static let cases = [
        Case(), Case(fading: 0.03), Case(fading: 0.03, isWarm: true), Case(fading: 0.03, hasBias: false),
        Case(fading: 0.1, normalizes: true), Case(fading: 0.1, normalizes: true, isWarm: true),
        Case(optimizer: .riemannian(damping: 1e-3)), Case(optimizer: .adam()), Case(batch: 3, fading: 0.03),
        Case(protects: true),
    ]

    private func random(_ generator: inout PhiloxGenerator, _ count: Int) -> [Float] {
        let values = (0..<count).map { _ in Float(generator.normal()) }
        let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return values.map { $0 / norm }
    }

    @Test("the output before the step is that of the adapter that was kept", arguments: cases)
    func undoes(of item: Case) throws {
        let d = 24
        var generator = PhiloxGenerator(seed: 11)
        let shape = try AdapterShape(
            dimension: d, rank: 3, alpha: 6, hasBias: item.hasBias, normalizesOutput: item.normalizes)
        var configuration = UpdateConfiguration(
            dimension: d, optimizer: item.optimizer, learningRates: PerObjective(all: 0.3),
            fading: PerObjective(all: item.fading),
            elasticWeightConsolidation: item.protects ? ElasticWeightConsolidation(strength: 0.1) : nil)
        configuration.clipThresholds = PerObjective(all: 1)
        let identity = AdapterIdentity(seed: 1, stream: 2)
        func batch() -> [Feedback] {
            (0..<item.batch).map { _ in
                Feedback(
                    embedding: random(&generator, d),
                    signal: .preference(
                        .vector(random(&generator, d)), over: [.vector(random(&generator, d))]))
            }
        }
        var adapter = LoRAAdapter(shape: shape, identity: identity)
        if item.isWarm {
            var donor = LoRAAdapter(
                shape: try AdapterShape(dimension: d, rank: 3, hasBias: item.hasBias),
                identity: AdapterIdentity(seed: 3, stream: 4))
            for _ in 0..<5 { _ = try donor.update(with: batch(), configuration: configuration) }
            let prior = try AdapterPrior(merging: [(donor, 1)], rank: 3)
            adapter = try LoRAAdapter(shape: shape, identity: identity, startingFrom: prior)
        }
        for _ in 0..<4 { _ = try adapter.update(with: batch(), configuration: configuration) }

        let before = adapter
        let trace = StepTrace()
        _ = try adapter.update(
            with: batch(), configuration: configuration, overrides: UpdateOverrides(), scratch: UpdateScratch(),
            trace: trace)
        #expect(adapter.stateHash != before.stateHash)
        let next = batch()
        let held = try #require(HeldBatch(next, for: adapter, trace: trace, configuration: configuration))
        let judged = try held.judge()
        // The same from whole adapters: their losses are what an update reports as its loss before.
        func loss(_ adapter: LoRAAdapter) throws -> Double {
            var copy = adapter
            return try copy.update(with: next, configuration: configuration).lossBefore
        }
        #expect(abs(judged.before - (try loss(before))) < 2e-6)
        #expect(abs(judged.after - (try loss(adapter))) < 1e-6)
        let none = LoRAAdapter(shape: shape, identity: identity)
        #expect(abs(judged.without - (try loss(none))) < 1e-6)
        #expect(judged.before != judged.after)
    }

    @Test(
        "what an update tells of the step before it, with the loss it reports, is the whole judgement", arguments: cases
    )
    func looksBack(of item: Case) throws {
        let d = 24
        var generator = PhiloxGenerator(seed: 12)
        let shape = try AdapterShape(
            dimension: d, rank: 3, alpha: 6, hasBias: item.hasBias, normalizesOutput: item.normalizes)
        let configuration = UpdateConfiguration(
            dimension: d, optimizer: item.optimizer, learningRates: PerObjective(all: 0.3),
            fading: PerObjective(all: item.fading),
            elasticWeightConsolidation: item.protects ? ElasticWeightConsolidation(strength: 0.1) : nil)
        let identity = AdapterIdentity(seed: 1, stream: 2)
        var adapter = LoRAAdapter(shape: shape, identity: identity)
        if item.isWarm {
            var donor = LoRAAdapter(
                shape: try AdapterShape(dimension: d, rank: 3, hasBias: item.hasBias), identity: identity)
            for _ in 0..<5 {
                _ = try donor.update(
                    with: [Feedback(embedding: random(&generator, d), signal: .target(random(&generator, d)))],
                    configuration: configuration)
            }
            let prior = try AdapterPrior(merging: [(donor, 1)], rank: 3)
            adapter = try LoRAAdapter(shape: shape, identity: identity, startingFrom: prior)
        }
        let scratch = UpdateScratch()
        func signals() -> [Feedback.Signal] {
            [
                .target(random(&generator, d)), .scaledInput(reward: 0.5),
                .reward(-0.7, for: .vector(random(&generator, d))),
                .watch(
                    WatchEvent(completion: 0.9, rating: 4), of: .vector(random(&generator, d))),
            ]
        }
        var last = StepTrace()
        for (i, signal) in (signals() + signals() + signals()).enumerated() {
            // Embeddings of very different lengths too: what a step did to a short one tells of a long one.
            let embedding = random(&generator, d).map { $0 * [1, 1e-3, 30][i % 3] }
            let next = [Feedback(embedding: embedding, signal: signal, weight: 0.5)]
            let whole = i == 0 ? nil : HeldBatch(next, for: adapter, trace: last, configuration: configuration)
            let judged = try whole?.judge()
            let trace = StepTrace()
            var unasked = adapter
            let report = try adapter.update(
                with: next, configuration: configuration, overrides: UpdateOverrides(), scratch: scratch, trace: trace,
                judging: i == 0 ? nil : last)
            _ = try unasked.update(with: next, configuration: configuration)
            #expect(unasked.stateHash == adapter.stateHash)
            if let judged {
                let losses = try #require(try trace.lookBack?.get())
                let told = losses.judgement(after: report.lossBefore)
                #expect(told.without == judged.without)
                #expect(told.after == judged.after)
                #expect(abs(told.before - judged.before) < 3e-6 * max(1, judged.before), "step \(i): \(signal)")
            } else {
                #expect(trace.lookBack == nil)
            }
            last = trace
        }
    }

    @Test("a look back beyond the range of Float is a failure, and the update goes on")
    func looksBackInVain() throws {
        let d = 8
        let configuration = UpdateConfiguration(
            dimension: d, learningRates: PerObjective(all: 1), clipThresholds: PerObjective(all: 1e18))
        var adapter = LoRAAdapter(
            shape: try AdapterShape(dimension: d, rank: 2), identity: AdapterIdentity(seed: 1, stream: 2))
        let trace = StepTrace()
        func target(_ value: Float) -> [Feedback] {
            [
                Feedback(
                    embedding: [Float](repeating: 1, count: d), signal: .target([Float](repeating: value, count: d)))
            ]
        }
        _ = try adapter.update(
            with: target(2), configuration: configuration, overrides: UpdateOverrides(), scratch: UpdateScratch(),
            trace: trace)
        trace.keep = .leastNonzeroMagnitude
        let second = StepTrace()
        let report = try adapter.update(
            with: target(2), configuration: configuration, overrides: UpdateOverrides(), scratch: UpdateScratch(),
            trace: second, judging: trace)
        #expect(report.version == 2)
        guard case .failure(let error) = try #require(second.lookBack) else {
            Issue.record("a result: \(String(describing: second.lookBack))")
            return
        }
        #expect(error.code == .nonFinite)
    }

    @Test("a step that is not kept leaves the adapter the same bytes")
    func costsNoBytes() throws {
        var generator = PhiloxGenerator(seed: 5)
        let shape = try AdapterShape(dimension: 16, rank: 2, hasBias: true)
        var plain = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, stream: 2))
        var traced = plain
        let configuration = UpdateConfiguration(dimension: 16)
        for _ in 0..<20 {
            let feedback = [
                Feedback(embedding: random(&generator, 16), signal: .target(random(&generator, 16)))
            ]
            _ = try plain.update(with: feedback, configuration: configuration)
            _ = try traced.update(
                with: feedback, configuration: configuration, overrides: UpdateOverrides(), scratch: UpdateScratch(),
                trace: StepTrace())
        }
        #expect(plain.stateHash == traced.stateHash)
    }

    @Test("the share below is that of a naive count, for every kind of choice")
    func sharesBelow() throws {
        var generator = PhiloxGenerator(seed: 6)
        let d = 8
        let items = 40
        let catalogue = try ItemCatalogue(
            vectors: Matrix(rows: (0..<items).map { _ in random(&generator, d) }),
            offsets: (0..<items).map { _ in Float(generator.normal()) * 0.1 })
        let x = random(&generator, d)
        func score(_ item: Int) -> Double {
            (0..<d).reduce(Double(catalogue.offsets[item])) { $0 + Double(x[$1]) * Double(catalogue.vectors[item, $1]) }
        }
        let shape = try AdapterShape(dimension: d, rank: 2)
        let adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, stream: 2))
        let seen = [3, 4, 4, 39]
        func share(_ feedback: Feedback, like: ObjectiveConfiguration.Like) throws -> Double? {
            var configuration = UpdateConfiguration(dimension: d)
            configuration.objective.like = like
            let trace = StepTrace()
            var updated = adapter
            _ = try updated.update(
                with: [feedback], configuration: configuration, overrides: UpdateOverrides(), scratch: UpdateScratch(),
                trace: trace)
            let held = try #require(
                HeldBatch([feedback], for: updated, trace: trace, configuration: configuration))
            return try held.judge().shareBelow?.without
        }
        let like = Feedback(embedding: x, signal: .like(7, in: catalogue, seen: seen))
        let others = (0..<items).filter { $0 != 7 && !seen.contains($0) }
        let expected = Double(others.count { score($0) < score(7) }) / Double(others.count)
        #expect(try share(like, like: .catalogueSoftmax) == expected)
        #expect(try share(like, like: .sampledSoftmax(negatives: 5, wholeUpTo: 100)) == expected)
        let sampled = try #require(try share(like, like: .sampledSoftmax(negatives: 2000)))
        #expect(abs(sampled - expected) < 0.05)
        let ranking = Feedback(
            embedding: x,
            signal: .ranking(.catalogued(7, catalogue), among: [1, 2, 5].map { .catalogued($0, catalogue) }))
        #expect(
            try share(ranking, like: .catalogueSoftmax) == Double([1, 2, 5].count { score($0) < score(7) }) / 3)
        let tie = Feedback(
            embedding: x,
            signal: .preference(.catalogued(7, catalogue), over: [.catalogued(7, catalogue)]))
        #expect(try share(tie, like: .catalogueSoftmax) == 0.5)
        let target = Feedback(embedding: x, signal: .target(random(&generator, d)))
        #expect(try share(target, like: .catalogueSoftmax) == nil)
    }

    @Test("fading draws a warm adapter back to its start, and a cold one to the identity")
    func fadesToTheStart() throws {
        var generator = PhiloxGenerator(seed: 8)
        let d = 12
        let shape = try AdapterShape(dimension: d, rank: 2, hasBias: true)
        var configuration = UpdateConfiguration(dimension: d, learningRates: PerObjective(all: 1))
        var donor = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 3, stream: 4))
        for _ in 0..<6 {
            _ = try donor.update(
                with: [Feedback(embedding: random(&generator, d), signal: .target(random(&generator, d)))],
                configuration: configuration)
        }
        let prior = try AdapterPrior(merging: [(donor, 1)], rank: 2)
        // A rate so small that nothing but the fading moves the adapter.
        configuration.learningRates = PerObjective(all: 1e-30)
        configuration.fading = PerObjective(all: 0.5)
        let feedback = [Feedback(embedding: random(&generator, d), signal: .target(random(&generator, d)))]
        let start = try LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, stream: 2), startingFrom: prior)
        var warm = start
        for value in [warm.parameters] {
            value.withBuffer { all in
                let up = all.slice(shape.upRange.lowerBound..<shape.parameterCount)
                for i in 0..<up.count { up[i] += 1 }
            }
        }
        let fresh = try LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, stream: 2), startingFrom: prior)
        for _ in 0..<40 { _ = try warm.update(with: feedback, configuration: configuration) }
        let x = random(&generator, d)
        for (a, b) in zip(try warm.forward(x), try fresh.forward(x)) { #expect(abs(a - b) < 1e-5) }
        for _ in 0..<60 { _ = try donor.update(with: feedback, configuration: configuration) }
        for (a, b) in zip(try donor.forward(x), x) { #expect(abs(a - b) < 1e-5) }
    }
}
