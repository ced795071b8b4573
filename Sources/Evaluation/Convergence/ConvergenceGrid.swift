internal import LoRA
internal import TensorCore

/// What a benchmark of convergence compares: named variants of methods, each with the values that are tried for its settings.
///
/// A variant without settings is tuned as ``Evaluation`` does. One with settings has a *candidate* for each combination of their
/// values, the last setting's values changing fastest; which of them is evaluated is decided on the donors.
public struct ConvergenceGrid: Sendable, Hashable {
    /// A method with the values that are tried for its settings.
    public struct Variant: Sendable, Hashable {
        /// The name in reports: letters, digits, spaces, `.`, `_` and `-`; unique, at most 64 of them.
        public var name: String
        /// What it is a variant of.
        public var method: EvaluationMethod
        /// The settings and their values, in the order in which they vary.
        public var settings: [Axis]

        /// A variant.
        public init(name: String, method: EvaluationMethod, settings: [Axis] = []) {
            self.name = name
            self.method = method
            self.settings = settings
        }

        /// A method as ``Evaluation`` tunes it, under its own name.
        public init(_ method: EvaluationMethod) { self.init(name: method.rawValue, method: method) }
    }

    /// A setting and the values that are tried for it.
    public struct Axis: Sendable, Hashable {
        /// The setting.
        public var name: Setting
        /// The values, none twice.
        public var values: [Value]

        /// A setting and its values.
        public init(_ name: Setting, _ values: [Value]) {
            self.name = name
            self.values = values
        }
    }

    /// A value of a setting.
    public enum Value: Sendable, Hashable {
        /// A number.
        case number(Double)
        /// A name, of an optimizer for instance.
        case word(String)
        /// Yes or no.
        case flag(Bool)
        /// Whole numbers, ascending.
        case counts([Int])
        /// Switched off.
        case off

        /// Whether it switches a setting off that can be.
        var isOff: Bool { [.off, .number(0), .flag(false), .word("off"), .counts([])].contains(self) }

        /// The value as a report shows it.
        public var text: String {
            switch self {
            case .number(let value): value == value.rounded() && abs(value) < 1e9 ? "\(Int(value))" : "\(value)"
            case .word(let word): word
            case .flag(let flag): "\(flag)"
            case .counts(let counts): counts.isEmpty ? "off" : counts.map(String.init).joined(separator: " ")
            case .off: "off"
            }
        }
    }

    /// The most candidates of all variants together.
    public static let mostCandidates = 1_000
    /// The most variants.
    public static let mostVariants = 100
    /// The longest name of a variant.
    public static let longestName = 64

    /// The variants, in the order of reports.
    public var variants: [Variant]

    /// The file that it was read from, for errors.
    var file = ""

    /// A grid.
    public init(_ variants: [Variant]) { self.variants = variants }

    /// Checks names, settings and values.
    ///
    /// - Parameter dimension: The embeddings' dimension, which a rank may not exceed.
    /// - Throws: ``DataError`` (`malformedGrid`) naming file, variant, setting and value.
    public func validate(dimension: Int) throws(DataError) {
        do throws(DataError) { try check(dimension: dimension) } catch {
            throw DataError(error.code, file: file, value: error.value, error.message)
        }
    }

    private func check(dimension: Int) throws(DataError) {
        func refuse(_ message: String) -> DataError { DataError(.malformedGrid, message) }
        guard !variants.isEmpty else { throw refuse("it has no variants: name one at least") }
        guard variants.count <= Self.mostVariants else {
            throw refuse("\(variants.count) variants are more than \(Self.mostVariants): leave some out")
        }
        var names: Set<String> = []
        var candidates = 0
        for variant in variants {
            try variant.validate(dimension: dimension)
            guard names.insert(variant.name).inserted else {
                throw refuse("two variants have the name '\(variant.name)': rename one")
            }
            let (count, overflow) = candidates.addingReportingOverflow(variant.candidateCount)
            guard !overflow, count <= Self.mostCandidates else {
                throw refuse(
                    "with variant '\(variant.name)' there are more than \(Self.mostCandidates) candidates: try fewer values"
                )
            }
            candidates = count
        }
    }
}

extension ConvergenceGrid.Variant {
    /// Whether it is tuned as ``Evaluation`` does.
    public var isTunedAsEvaluation: Bool { settings.isEmpty }

    /// How many combinations of values its settings have; `Int.max` for more than that.
    var candidateCount: Int {
        settings.reduce(1) { count, setting in
            let (product, overflow) = count.multipliedReportingOverflow(by: setting.values.count)
            return overflow ? .max : product
        }
    }

    /// Every combination of values, the last setting's changing fastest.
    var candidates: [[(name: ConvergenceGrid.Setting, value: ConvergenceGrid.Value)]] {
        settings.reduce([[]]) { found, setting in
            found.flatMap { start in setting.values.map { start + [(setting.name, $0)] } }
        }
    }

    fileprivate func validate(dimension: Int) throws(DataError) {
        func refuse(_ message: String) -> DataError { DataError(.malformedGrid, message) }
        func isAllowed(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: " "), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard !name.isEmpty, name.utf8.count <= ConvergenceGrid.longestName else {
            throw refuse(
                "the name of a variant of \(method.rawValue) is empty or longer than \(ConvergenceGrid.longestName) "
                    + "characters: give it a short one")
        }
        guard name.utf8.allSatisfy(isAllowed) else {
            throw DataError(
                .malformedGrid, value: name,
                "the name of a variant of \(method.rawValue) has other characters than A-Z, a-z, 0-9, space, '.', '_' and "
                    + "'-': rename it")
        }
        if let other = EvaluationMethod(rawValue: name), other != method {
            throw refuse("variant '\(name)' is named after another method than its own, \(method.rawValue): rename it")
        }
        let names = settings.map(\.name)
        for (i, setting) in settings.enumerated() {
            func refuse(_ message: String) -> DataError {
                DataError(.malformedGrid, "variant '\(name)', setting '\(setting.name.rawValue)': \(message)")
            }
            guard names[..<i].allSatisfy({ $0 != setting.name }) else { throw refuse("it is there twice") }
            let known = ConvergenceGrid.Setting.settings(of: method)
            guard known.contains(setting.name) else {
                let text = known.isEmpty ? "no settings" : known.map(\.rawValue).joined(separator: ", ")
                throw refuse("the method \(method.rawValue) has none of that name; it has \(text)")
            }
            guard !setting.values.isEmpty else { throw refuse("it has no values: name one at least, or leave it out") }
            for (j, value) in setting.values.enumerated() {
                guard !setting.values[..<j].contains(value) else {
                    throw refuse("the value \(value.text) is there twice")
                }
                if let reason = setting.name.refusal(of: value, dimension: dimension) {
                    throw refuse("the value \(value.text) \(reason)")
                }
            }
            if let other = setting.name.needs {
                let given = settings.first { $0.name == other }
                let isOn = given?.values.contains { !$0.isOff } ?? other.isOnUnlessGiven
                guard isOn else {
                    throw refuse("it has no effect without '\(other.rawValue)': name that too, or leave this one out")
                }
            }
        }
    }
}
