internal import LoRA

extension ConvergenceGrid {
    /// A setting of a method.
    ///
    /// The pairwise methods are `bias`, `cold`, `warm`, `similar` and `random`. Where a variant of one of them names settings but
    /// not its rate or strength, all that ``Evaluation`` tries are tried; where it does not name its κ, it has that of `none`. A
    /// variant of `engine` has the engine's default for each setting that it does not name.
    public enum Setting: String, Sendable, Hashable, CaseIterable {
        /// The adapters' rank: a whole number, at most 256 and the embeddings' dimension. `engine`, pairwise methods but `bias`.
        case rank
        /// The numerator of the scale alpha / rank. `engine`.
        case alpha
        /// The base learning rate itself, above 0 and at most 1,000. `engine`, pairwise methods.
        case rate
        /// The loss of a like: `softmax`, or `pairwise` with 10 negatives. `engine`.
        case objective
        /// The temperature of the softmax, 0.001...1,000. `engine`.
        case temperature
        /// `sgd`, `momentum`, `nesterov`, `riemannian`, `adagrad`, `adam`, `adamw` or `dog`, with the library's defaults. `engine`.
        case optimizer
        /// `constant`; `step`: half as much every 20 updates; `exponential`: 0.97 times as much at each; `cosine`: over 60 updates to
        /// 0; `cosine with restarts`: every 20; `inverse square root`: from 10 updates on; `reduce on plateau`. `engine`.
        case schedule
        /// The updates over which the rate rises to its full value. `engine`.
        case warmup
        /// The largest norm, or entry, of a gradient, above 0. `engine`.
        case clip
        /// What is limited: `global norm`, `per-matrix norm`, `by value` or `off`. `engine`.
        case clipping
        /// The share of what was learned that fades after each update, 0..<1. `engine`.
        case fading
        /// Weight decay, 0...1. `engine`.
        case weightDecay
        /// The strength of elastic weight consolidation, 0...10,000; 0 or null for none. `engine`.
        case ewc
        /// The share that its running mean keeps at each update, 0..<1. `engine`.
        case ewcDecay
        /// After how many updates, again and again, what was learned is anchored, 1...1,000,000; 10 unless given. `engine`.
        case ewcEvery
        /// The rate of the self-audit, which weighs reads between the adapter and none, above 0 and at most 100; 0 or null for
        /// none. `engine`.
        case audit
        /// The adapter's weight before the first feedback under the audit, 0.001...0.999. `engine`.
        case auditPrior
        /// The share of the audit's weights that each update spreads again, 0...0.5. `engine`.
        case auditShare
        /// The threshold of the test for a change of taste, at which the adapter is set aside, above 0 and at most 10,000; 0 or
        /// null for none. `engine`.
        case fork
        /// The rise of the mean loss that is no change of taste, 0...100. `engine`.
        case forkTolerance
        /// The updates before which there is no change of taste, 2...1,000,000. `engine`.
        case forkAfter
        /// The rate by which losses turn into the weights of the adapter and of the one set aside, above 0 and at most 100. `engine`.
        case forkRate
        /// The share of those weights that each update spreads again, above 0 and at most 0.5. `engine`.
        case forkShare
        /// The weight of log(1 + donor likes), 0...100. All methods but `popularity`.
        case kappa
        /// Whether the donors' bank gives starts. `engine`.
        case bank
        /// What the bank's start is multiplied by, 0...10. `engine`.
        case bankStrength
        /// After how many updates an adapter is started again as the bank then advises: whole numbers, ascending; null for never.
        /// `engine`.
        case restartsAfter
        /// The share s of the query in y = s·x + (alpha / rank)·B·A·x + b, 0.01...100; 1 is the engine's own. `engine`.
        case queryShare
        /// What a start from donors is multiplied by, 0...1. `warm`, `similar`, `random`.
        case strength

        /// The settings that a method has.
        public static func settings(of method: EvaluationMethod) -> [Setting] {
            switch method {
            case .popularity: []
            case .none, .profile, .ridge: [.kappa]
            case .bias: [.rate, .kappa]
            case .cold: [.rank, .rate, .kappa]
            case .warm, .similar, .random: [.rank, .rate, .strength, .kappa]
            case .engine: allCases.filter { $0 != .strength }
            }
        }

        /// The setting without which it does nothing.
        var needs: Setting? {
            switch self {
            case .ewcDecay, .ewcEvery: .ewc
            case .auditPrior, .auditShare: .audit
            case .forkTolerance, .forkAfter, .forkRate, .forkShare: .fork
            case .bankStrength, .restartsAfter: .bank
            case .clip: .clipping
            default: nil
            }
        }

        /// Whether it does something where a variant does not name it.
        var isOnUnlessGiven: Bool { self == .bank || self == .clipping }

        /// The words that it takes; none where it takes no words.
        var words: [String] {
            switch self {
            case .objective: ["softmax", "pairwise"]
            case .optimizer: Optimizer.gridChoices.map(\.name)
            case .schedule: Schedule.gridChoices.map(\.name)
            case .clipping: Clipping.gridChoices.map(\.name)
            default: []
            }
        }

        /// Why it does not take a value; `nil` where it does.
        func refusal(of value: Value, dimension: Int) -> String? {
            func number(_ range: ClosedRange<Double>, isWhole: Bool = false, above: Double? = nil) -> String? {
                guard case .number(let x) = value, x.isFinite, range.contains(x), above.map({ x > $0 }) ?? true,
                    !isWhole || x == x.rounded()
                else {
                    func shown(_ bound: Double) -> String { Value.number(bound).text }
                    return "is no \(isWhole ? "whole " : "")number "
                        + (above.map { "above \(shown($0)) and at most " } ?? "from \(shown(range.lowerBound)) to ")
                        + shown(range.upperBound)
                }
                return nil
            }
            func share() -> String? {
                guard case .number(let x) = value, x >= 0, x < 1 else { return "is no number from 0 to below 1" }
                return nil
            }
            switch self {
            case .rank: return number(1...Double(min(256, dimension)), isWhole: true)
            case .alpha: return number(0.001...10_000)
            case .rate: return number(0...1_000, above: 0)
            case .temperature: return number(0.001...1_000)
            case .warmup: return number(0...1_000_000, isWhole: true)
            case .clip: return number(0...1e6, above: 0)
            case .fading, .ewcDecay: return share()
            case .weightDecay, .strength: return number(0...1)
            case .bankStrength: return number(0...10)
            case .ewc, .fork: return value == .off ? nil : number(0...10_000)
            case .audit: return value == .off ? nil : number(0...100)
            case .auditPrior: return number(0.001...0.999)
            case .auditShare: return number(0...0.5)
            case .forkTolerance: return number(0...100)
            case .ewcEvery: return number(1...1_000_000, isWhole: true)
            case .forkAfter: return number(2...1_000_000, isWhole: true)
            case .forkRate: return number(0...100, above: 0)
            case .forkShare: return number(0...0.5, above: 0)
            case .kappa: return number(0...100)
            case .queryShare: return number(0.01...100)
            case .bank:
                guard case .flag = value else { return "is neither true nor false" }
                return nil
            case .restartsAfter:
                guard case .counts(let counts) = value else {
                    return value == .off ? nil : "is no list of whole numbers, and not null"
                }
                let isAscending = zip(counts, counts.dropFirst()).allSatisfy { $0 < $1 }
                return counts.count <= 16 && isAscending && counts.allSatisfy { (1...1_000).contains($0) }
                    ? nil : "is not up to 16 ascending whole numbers from 1 to 1000"
            case .objective, .optimizer, .schedule, .clipping:
                guard case .word(let word) = value, words.contains(word) else {
                    return "is not one of \(words.joined(separator: ", "))"
                }
                return nil
            }
        }
    }
}

extension Optimizer {
    static let gridChoices: [Optimizer] = [
        .sgd, .momentum(), .momentum(nesterov: true), .riemannian(), .adaGrad(), .adam(), .adamW(), .doG(),
    ]
}

extension Schedule {
    static let gridChoices: [Schedule] = [
        Schedule(.constant), Schedule(.step(size: 20, factor: 0.5)), Schedule(.exponential(factor: 0.97)),
        Schedule(.cosine(period: 60)), Schedule(.cosineWithRestarts(period: 20)),
        Schedule(.inverseSquareRoot(offset: 10)), Schedule(.reduceOnPlateau()),
    ]
}

extension Clipping {
    static let gridChoices: [Clipping] = [.globalNorm, .perMatrix, .byValue, .off]
}
