internal import Reasoning
internal import TensorCore

extension SpanStatus {
    /// How far it is: of two that are told, the one that is further is the later one.
    package var rank: Int {
        switch self {
        case .pending: 0
        case .running: 1
        case .completed, .failed, .cancelled: 2
        }
    }
}

extension SpanRecord {
    /// What a step becomes when it is told of again under the identifier that the application gave it.
    ///
    /// The one that is further counts: a `running` that comes late changes nothing of a `completed`. What it does not say is taken from the
    /// other, so that it does not matter in which order the two came; of three that say the same thing differently it may. Of two that are
    /// as far the one that came last counts; of two that have ended the first. It began when it was first told to run or to have ended;
    /// who says the same again without a time changes none.
    package func merged(with newer: SpanRecord) -> SpanRecord {
        let isLater = newer.status.rank > status.rank || newer.status == status && !status.isFinal
        let (winner, other) = isLater ? (newer, self) : (self, newer)
        var merged = winner
        (merged.id, merged.trace) = (id, trace)
        merged.parent = winner.parent ?? other.parent
        merged.recording = winner.recording ?? other.recording
        // The one that only waited had not begun. Who tells of it again without saying when, tells it later.
        if newer.isStartAssumed, newer.status.rank == status.rank, duration != nil || newer.duration == nil {
            merged.startedAt = startedAt
        } else if other.status != .pending || winner.status == .pending {
            merged.startedAt = min(winner.startedAt, other.startedAt)
        }
        merged.isStartAssumed = isStartAssumed
        if merged.duration == nil { merged.duration = other.duration }
        if merged.duration == nil, let end = winner.keptEnd ?? other.keptEnd, merged.startedAt < end {
            merged.duration = AgentTask.microseconds(nil, merged.startedAt, end)
        }
        merged.endedAt = nil
        // Of two that ended differently one is wrong about how: nothing of that is taken from it.
        let isContradicted = winner.status != other.status && other.status.isFinal
        merged.failure = winner.failure ?? (isContradicted ? nil : other.failure)
        merged.timeToFirstChunk = winner.timeToFirstChunk ?? other.timeToFirstChunk
        merged.provider = winner.provider ?? other.provider
        merged.requestModel = winner.requestModel ?? other.requestModel
        merged.responseModel = winner.responseModel ?? other.responseModel
        merged.inputTokens = winner.inputTokens ?? other.inputTokens
        merged.outputTokens = winner.outputTokens ?? other.outputTokens
        merged.cost = winner.cost ?? other.cost
        merged.tool = winner.tool ?? other.tool
        merged.context.agent = winner.context.agent ?? other.context.agent
        merged.context.room = winner.context.room ?? other.context.room
        merged.context.entity = winner.context.entity ?? other.context.entity
        merged.context.message = winner.context.message ?? other.context.message
        merged.contents = winner.contents.merging(other.contents) { ours, _ in ours }
        if isContradicted { merged.contents[.output] = winner.contents[.output] }
        merged.attributes = AttributeMembers.union(winner.attributes, other.attributes)
        merged.isPublished = newer.isPublished
        return merged
    }
}

extension SpanRecord {
    /// The attribute that keeps when something ended of which it is not known how long it took, in microseconds since 1970.
    static let endName = "completed_at"

    /// When it ended, where somebody has said so and not how long it took.
    fileprivate var keptEnd: Timestamp? {
        if let endedAt { return endedAt }
        guard kind == .task, let attributes, case .object(let members)? = JSONCheck.value(attributes)?.content,
            case .integer(let end)? = members.first(where: { $0.key == Self.endName })?.value.content
        else { return nil }
        return Timestamp(microseconds: Int64(end))
    }
}

/// The members of a JSON object of attributes.
struct AttributeMembers {
    private var json = JSONOutput()
    private var isEmpty = true

    init() { json.beginObject() }

    mutating func add(_ name: String, _ text: String?) {
        guard let text else { return }
        json.member(name, text)
        isEmpty = false
    }

    mutating func add(_ name: String, _ number: Int64?) {
        guard let number else { return }
        json.member(name, number)
        isEmpty = false
    }

    /// The object; `nil` where there are no members.
    var text: String? {
        if isEmpty { return nil }
        var json = json
        json.endObject()
        return String(decoding: json.bytes, as: UTF8.self)
    }

    /// The members of two objects; of those that both have the first's.
    static func union(_ first: String?, _ second: String?) -> String? {
        guard let first, let second, first != second else { return first ?? second }
        guard case .object(let ours)? = JSONCheck.value(first)?.content,
            case .object(let theirs)? = JSONCheck.value(second)?.content
        else { return first }
        let names = Set(ours.map(\.key))
        let added = theirs.filter { !names.contains($0.key) }
        if added.isEmpty { return first }
        var json = JSONOutput()
        json.beginObject()
        for member in ours { json.raw(member.key, JSONCheck.text(of: member.value, in: Array(first.utf8))) }
        for member in added { json.raw(member.key, JSONCheck.text(of: member.value, in: Array(second.utf8))) }
        json.endObject()
        return String(decoding: json.bytes, as: UTF8.self)
    }
}

extension JSONCheck {
    /// The text of a value of a JSON text that was parsed, as it stands there.
    static func text(of value: JSONValue, in bytes: [UInt8]) -> String {
        var (depth, isString, isEscaped, end) = (0, false, false, value.offset)
        scan: while end < bytes.count {
            let byte = bytes[end]
            switch byte {
            case _ where isEscaped: isEscaped = false
            case UInt8(ascii: "\\") where isString: isEscaped = true
            case UInt8(ascii: "\""):
                isString.toggle()
                if !isString, depth == 0 {
                    end += 1
                    break scan
                }
            case _ where isString: break
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                if depth == 0 { break scan }
                depth -= 1
                if depth == 0 {
                    end += 1
                    break scan
                }
            case UInt8(ascii: ","), 0x20, 0x09, 0x0A, 0x0D:
                if depth == 0 { break scan }
            default: break
            }
            end += 1
        }
        return String(decoding: bytes[value.offset..<end], as: UTF8.self)
    }
}

extension SpanRecord {
    /// Attributes with the name of a session that is no recording.
    package static func attributes(_ attributes: String?, withSession session: String) -> String {
        var members = AttributeMembers()
        members.add("session_id", session)
        return AttributeMembers.union(attributes, members.text) ?? "{}"
    }
}
