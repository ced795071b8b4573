import TensorCore

extension ConvergenceGrid {
    /// The most bytes of a grid's file.
    static let largestFile = 1 << 20

    /// Reads a grid from a JSON file.
    ///
    /// ```text
    /// {"variants": [{"name": "no bank", "method": "engine", "settings": {"bank": [false], "rate": [0.1, 0.25]}}, …]}
    /// ```
    ///
    /// Every member is needed but `settings`; a setting's values stand in a list. The values are checked by
    /// ``validate(dimension:)``.
    ///
    /// - Throws: ``DataError``: `unreadable`, `limitExceeded`, or `malformedGrid` naming what is wrong and where.
    public init(path: String) throws(DataError) {
        let (name, bytes) = try FileAccess.document(path, limit: Self.largestFile)
        try self.init(bytes, name: name)
    }

    /// - Parameter name: The file's, for errors.
    init(_ bytes: [UInt8], name: String) throws(DataError) {
        var limits = JSONLimits()
        limits.maximumBytes = Self.largestFile
        limits.maximumDepth = 8
        let root: JSONValue
        do throws(JSONError) { root = try StrictJSON.parse(bytes, limits: limits) } catch {
            throw DataError(
                error.reason == .limit ? .limitExceeded : .malformedGrid, file: name,
                "byte \(error.offset): \(error.message)")
        }
        let reader = GridReader(file: name)
        let members = try reader.members(root, ["variants"], "the grid")
        guard case .array(let values)? = members["variants"]?.content else {
            throw reader.malformed("'variants' is no list: write {\"variants\": [...]}")
        }
        variants = []
        file = name
        if values.isEmpty { throw reader.malformed("it has no variants: name one at least") }
        for value in values { variants.append(try reader.variant(value)) }
    }
}

/// Reads the parts of a grid from JSON, and says what is wrong with them.
private struct GridReader {
    let file: String

    func malformed(_ message: String, value: String? = nil) -> DataError {
        DataError(.malformedGrid, file: file, value: value, message)
    }

    /// The members of an object that has no others than these.
    func members(_ value: JSONValue, _ known: [String], _ what: String) throws(DataError) -> [String: JSONValue] {
        guard case .object(let members) = value.content else {
            throw malformed("byte \(value.offset): \(what) is no object")
        }
        for member in members where !known.contains(member.key) {
            throw malformed(
                "byte \(member.value.offset): \(what) has a member that is not one of \(known.joined(separator: ", "))",
                value: member.key)
        }
        return Dictionary(members.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })
    }

    func variant(_ value: JSONValue) throws(DataError) -> ConvergenceGrid.Variant {
        let object = try members(value, ["name", "method", "settings"], "a variant")
        guard case .string(let name)? = object["name"]?.content else {
            throw malformed("byte \(value.offset): a variant's 'name' is no text")
        }
        let place = "variant '\(name.prefix(ConvergenceGrid.longestName))'"
        guard case .string(let word)? = object["method"]?.content, let method = EvaluationMethod(rawValue: word) else {
            let known = EvaluationMethod.allCases.map(\.rawValue).joined(separator: ", ")
            throw malformed("\(place): 'method' is not one of \(known)")
        }
        guard let given = object["settings"] else { return .init(name: name, method: method) }
        guard case .object(let settings) = given.content else {
            throw malformed("\(place): 'settings' is no object; write {\"rate\": [0.1, 0.3]}")
        }
        var result: [ConvergenceGrid.Axis] = []
        for setting in settings {
            guard let known = ConvergenceGrid.Setting(rawValue: setting.key) else {
                let names = ConvergenceGrid.Setting.settings(of: method).map(\.rawValue).joined(separator: ", ")
                throw malformed(
                    "\(place), byte \(setting.value.offset): there is no such setting; \(word) has "
                        + (names.isEmpty ? "none" : names),
                    value: setting.key)
            }
            guard case .array(let list) = setting.value.content else {
                throw malformed("\(place), setting '\(setting.key)': its values are no list; write [0.1, 0.3]")
            }
            var values: [ConvergenceGrid.Value] = []
            for value in list {
                guard let read = read(value) else {
                    throw malformed(
                        "\(place), setting '\(setting.key)', byte \(value.offset): not a number, a word, true, false, null "
                            + "or a list of whole numbers")
                }
                values.append(read)
            }
            result.append(.init(known, values))
        }
        return .init(name: name, method: method, settings: result)
    }

    private func read(_ value: JSONValue) -> ConvergenceGrid.Value? {
        switch value.content {
        case .null: return .off
        case .boolean(let flag): return .flag(flag)
        case .integer(let number): return .number(Double(number))
        case .number(let number): return number.isFinite ? .number(number) : nil
        case .string(let word): return .word(word)
        case .object: return nil
        case .array(let list):
            var counts: [Int] = []
            for value in list {
                guard case .integer(let number) = value.content, let count = Int(exactly: number) else { return nil }
                counts.append(count)
            }
            return .counts(counts)
        }
    }
}
