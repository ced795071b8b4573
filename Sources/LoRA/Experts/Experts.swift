internal import TensorCore

/// Who is weighed when an adapter is read: no adapter, the adapter, and one that was set aside when the taste changed.
package struct Experts: Sendable {
    /// The logarithms of the weights, up to what they have in common; −∞ for one that is not there.
    var logNone: Double
    var logActive: Double
    var logFrozen: Double
    /// The test for a change.
    var test = PageHinkley()
    /// The changes so far.
    var forks: UInt64 = 0
    /// The parameters of the adapter that was set aside.
    var frozen: AlignedStorage<Float>?
    /// The weights, which sum to 1; they follow from the logarithms.
    private(set) var weights = Weights(none: 0, active: 1, frozen: 0)

    /// The weights of the three.
    package struct Weights: Sendable, Equatable {
        package var none: Float
        package var active: Float
        package var frozen: Float
    }

    /// What the three lost on a batch; `nil` for one that is not there.
    struct Losses {
        var none: Double
        var active: Double
        var frozen: Double?
    }

    /// Before the first feedback.
    init(_ configuration: UpdateConfiguration) {
        let prior = configuration.selfAudit.map { Double($0.prior) } ?? 1
        (logNone, logActive, logFrozen) = (Elementary.log(1 - prior), Elementary.log(prior), -.infinity)
        weigh()
    }

    /// What was kept somewhere.
    init(
        logNone: Double, logActive: Double, logFrozen: Double, test: PageHinkley, forks: UInt64,
        frozen: AlignedStorage<Float>?
    ) {
        (self.logNone, self.logActive, self.logFrozen) = (logNone, logActive, logFrozen)
        (self.test, self.forks, self.frozen) = (test, forks, frozen)
        weigh()
    }

    /// Whether reads are more than the adapter's own.
    var isMixing: Bool { weights.active != 1 }

    /// Who takes part under a configuration: an audit that is switched on begins, one that is switched off ends, and so does
    /// an adapter aside.
    mutating func follow(_ configuration: UpdateConfiguration) {
        if configuration.driftForking == nil {
            frozen = nil
            logFrozen = -.infinity
            test = PageHinkley()
        }
        if let audit = configuration.selfAudit {
            if logNone == -.infinity {
                // Beside what the others have together, which is 1 after a weighing.
                logNone = Elementary.log(1 - Double(audit.prior)) - Elementary.log(Double(audit.prior))
            }
        } else {
            logNone = -.infinity
        }
        if logActive == -.infinity { logActive = 0 }
        weigh()
    }

    /// Takes in what a batch showed.
    ///
    /// - Parameter scale: What differences of losses are multiplied by.
    /// - Returns: Whether the taste has changed.
    mutating func observe(_ losses: Losses, scale: Double, _ configuration: UpdateConfiguration) -> Bool {
        let range = Double(configuration.selfAudit?.range ?? DriftForking.range)
        func excess(_ loss: Double) -> Double { min(range, max(-range, scale * (loss - losses.none))) }
        let active = excess(losses.active)
        let frozen = losses.frozen.map(excess)
        var hasChanged = false
        if let forking = configuration.driftForking {
            let read = Double(weights.active) * active + Double(weights.frozen) * (frozen ?? 0)
            hasChanged = test.observe(read, forking)
        }
        let rate = Double(configuration.selfAudit?.rate ?? 0)
        if let frozen, let forking = configuration.driftForking {
            // How much the two adapters have together is the audit's to say, by what was read of them: with their weights before
            // this loss.
            let together = Elementary.logSum(logActive, logFrozen)
            let before = Self.share(logActive, logFrozen)
            let loss = before * active + (1 - before) * frozen
            let kept = together - rate * loss
            // Then the two between themselves.
            var share = Self.share(
                logActive - Double(forking.rate) * active, logFrozen - Double(forking.rate) * frozen)
            share = (1 - Double(forking.share)) * share + Double(forking.share) / 2
            logActive = kept + Elementary.log(share)
            logFrozen = kept + Elementary.log(1 - share)
        } else {
            logActive -= rate * active
        }
        if let audit = configuration.selfAudit, audit.share > 0 {
            let adapters = Elementary.logSum(logActive, logFrozen)
            var share = Self.share(adapters, logNone)
            share = (1 - Double(audit.share)) * share + Double(audit.share) * Double(audit.prior)
            let change = Elementary.log(share) - adapters
            logActive += change
            logFrozen += change
            logNone = Elementary.log(1 - share)
        }
        weigh()
        return hasChanged
    }

    /// After a change of taste: the adapter in use is set aside as it is, and half of the adapters' weight goes with it. Not where
    /// the one that is aside is read more than it: then that one is what is needed, and stays.
    mutating func change(_ parameters: @autoclosure () -> AlignedStorage<Float>) {
        test = PageHinkley()
        guard logFrozen <= logActive else { return }
        frozen = parameters()
        forks += 1
        let half = Elementary.logSum(logActive, logFrozen) - Elementary.log(2)
        (logActive, logFrozen) = (half, half)
        weigh()
    }

    /// exp(a) / (exp(a) + exp(b)).
    private static func share(_ a: Double, _ b: Double) -> Double {
        let difference = b - a
        if difference > 700 { return 1e-300 }
        return 1 / (1 + Elementary.exp(difference))
    }

    /// The weights from their logarithms, which are then such that the largest is 0.
    private mutating func weigh() {
        let largest = max(logNone, logActive, logFrozen)
        logNone -= largest
        logActive -= largest
        logFrozen -= largest
        let all = [logNone, logActive, logFrozen].map { $0 < -700 ? 0 : Elementary.exp($0) }
        let sum = all[0] + all[1] + all[2]
        weights = Weights(
            none: Float(all[0] / sum), active: Float(all[1] / sum), frozen: Float(all[2] / sum))
        // Alone it is the adapter, to the bit.
        if weights.none == 0, weights.frozen == 0 { weights.active = 1 }
    }

    func combine(into hash: inout StableHash) {
        for number in [logNone, logActive, logFrozen, test.mean, test.sum, test.lowest] {
            hash.combine(number.bitPattern)
        }
        hash.combine(test.count)
        hash.combine(forks)
        if let frozen { hash.combine(frozen) }
    }
}

/// The state of a Page–Hinkley test for a rise of the mean; see ``DriftForking``.
struct PageHinkley: Sendable, Equatable {
    var count: UInt64 = 0
    var mean = 0.0
    var sum = 0.0
    var lowest = 0.0

    /// Takes in a value; says whether the mean has risen.
    mutating func observe(_ value: Double, _ settings: DriftForking) -> Bool {
        count += 1
        mean += (value - mean) / Double(count)
        sum += value - mean - Double(settings.tolerance)
        lowest = min(lowest, sum)
        return count >= UInt64(settings.minimumUpdates) && sum - lowest > Double(settings.threshold)
    }
}

extension Elementary {
    /// log(exp(a) + exp(b)); −∞ for two that are.
    fileprivate static func logSum(_ a: Double, _ b: Double) -> Double {
        let (high, low) = (max(a, b), min(a, b))
        guard low > -.infinity, low - high > -700 else { return high }
        return high + log1p(exp(low - high))
    }
}
