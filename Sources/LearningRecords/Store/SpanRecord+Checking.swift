internal import Reasoning
internal import TensorCore

extension SpanRecord {
    /// The longest name or identifier, in bytes of UTF-8.
    public static let longestName = 1_024
    /// The most bytes of one content or of the attributes.
    public static let largestContent = 64 << 20

    /// The first moment that has no text of the form of rows: the year 10000.
    private static let endOfTime: Int64 = 253_402_300_800_000_000

    /// Why it cannot be kept; `nil` where it can.
    package func refusal(_ operation: String) -> RecordError? {
        func invalid(_ what: String) -> RecordError { RecordError(.invalid, operation, what) }
        func fault(_ text: String?, _ what: String) -> RecordError? {
            guard let text else { return nil }
            if text.utf8.count > Self.longestName {
                return invalid("the \(what) has more than \(Self.longestName) bytes")
            }
            // SQLite's own functions, and C's, end a text there.
            return text.utf8.contains(0) ? invalid("the \(what) holds a character of number 0") : nil
        }
        if let error = fault(name, "name") { return error }
        if let error = fault(provider, "provider") { return error }
        if let error = fault(requestModel, "request model") { return error }
        if let error = fault(responseModel, "response model") { return error }
        if let error = fault(tool, "tool") { return error }
        if let error = fault(externalID, "external identifier") { return error }
        if let error = fault(context.agent, "agent") { return error }
        if let error = fault(context.room, "room") { return error }
        if let error = fault(context.entity, "entity") { return error }
        if let error = fault(context.message, "message") { return error }
        if let error = fault(failure?.type, "type of the failure") { return error }
        if name.isEmpty { return invalid("it has no name") }
        func fault(_ number: Int64?, _ what: String) -> RecordError? {
            guard let number, number < 0 else { return nil }
            return invalid("the \(what) is \(number), below 0")
        }
        if let error = fault(duration, "duration") { return error }
        // What a row can say: the years 1970 to 9999.
        guard (0..<Self.endOfTime).contains(startedAt.microseconds),
            (duration ?? 0) < Self.endOfTime - startedAt.microseconds
        else { return invalid("it began or ended before 1970 or after 9999") }
        if let error = fault(timeToFirstChunk, "time to the first chunk") { return error }
        if let error = fault(inputTokens, "input tokens") { return error }
        if let error = fault(outputTokens, "output tokens") { return error }
        if let cost, !cost.isFinite || cost < 0 { return invalid("the cost is \(cost): it may be 0 or more") }
        for (role, content) in contents where content.byteCount > Self.largestContent {
            return invalid("the \(role.rawValue) has more than \(Self.largestContent) bytes")
        }
        if let attributes {
            guard attributes.utf8.count <= Self.largestContent, JSONCheck.isObject(attributes) else {
                return invalid("the attributes are no JSON object of at most \(Self.largestContent) bytes")
            }
            // SQL's functions would end a text there.
            if attributes.contains("\\u0000"), JSONCheck.hasZero(attributes) {
                return invalid("a member of the attributes holds a character of number 0")
            }
        }
        return nil
    }
}

extension SpanRecord {
    /// A name as it is kept: cut where it is too long, without characters of number 0. So are the names that are asked for.
    package static func fitting(_ text: String) -> String { fits(text) ? text : cut(text) }

    private static func fits(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { unsafe $0.count <= longestName && !$0.contains(0) }
    }

    @inline(never)
    private static func cut(_ text: String) -> String {
        var cut = ""
        for character in text.replacing("\0", with: "\u{FFFD}") {
            guard cut.utf8.count + character.utf8.count <= longestName else { break }
            cut.append(character)
        }
        return cut
    }

    /// Takes out what a store would refuse: a call is kept, whatever it says of itself.
    mutating func mend() {
        if let cost, !cost.isFinite || cost < 0 { self.cost = nil }
        startedAt.microseconds = min(max(0, startedAt.microseconds), Self.endOfTime - 1)
        if let time = duration, time >= Self.endOfTime - startedAt.microseconds { duration = nil }
        func counted(_ tokens: Int64?) -> Int64? { tokens.flatMap { $0 < 0 ? nil : $0 } }
        (inputTokens, outputTokens) = (counted(inputTokens), counted(outputTokens))
        func fit(_ text: inout String?) { if let given = text, !Self.fits(given) { text = Self.cut(given) } }
        if !Self.fits(name) { name = Self.cut(name) }
        if name.isEmpty { name = "unnamed" }
        fit(&provider)
        fit(&requestModel)
        fit(&responseModel)
        // Two that are cut might be equal.
        if let given = externalID, !Self.fits(given) { externalID = nil }
        fit(&context.agent)
        fit(&context.room)
        fit(&context.entity)
        fit(&context.message)
        if let failed = failure {
            failure = Failure(type: Self.fitting(failed.type), message: failed.message)
        }
        for (role, content) in contents where content.byteCount > Self.largestContent { contents[role] = nil }
    }
}

/// Whether texts are JSON.
enum JSONCheck {
    private static var limits: JSONLimits {
        var limits = JSONLimits()
        limits.maximumBytes = SpanRecord.largestContent
        limits.maximumDepth = 512
        limits.maximumValues = 8 << 20
        return limits
    }

    static func value(_ text: String) -> JSONValue? {
        do throws(JSONError) { return try StrictJSON.parse(Array(text.utf8), limits: limits) } catch { return nil }
    }

    /// Whether a member of an object is a text with a character of number 0.
    static func hasZero(_ object: String) -> Bool {
        guard case .object(let members)? = value(object)?.content else { return false }
        return members.contains { member in
            if case .string(let text) = member.value.content { return text.utf8.contains(0) }
            return false
        }
    }

    static func isObject(_ text: String) -> Bool {
        if case .object? = value(text)?.content { return true }
        return false
    }
}

extension RecordContent {
    /// The JSON text that is kept, behind what is there.
    package func writeStored(to bytes: inout [UInt8]) {
        switch self {
        case .text(let text): JSONOutput.append(text, to: &bytes)
        case .json(let text):
            if JSONCheck.value(text) == nil { JSONOutput.append(text, to: &bytes) } else { bytes += text.utf8 }
        }
    }

    /// The JSON text that is kept.
    package var stored: String {
        var bytes: [UInt8] = []
        writeStored(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// What a stored text was.
    package init(stored text: String) {
        if text.utf8.first == UInt8(ascii: "\""), case .string(let words)? = JSONCheck.value(text)?.content {
            self = .text(words)
        } else {
            self = .json(text)
        }
    }
}
