/// A phrase that is understood, with the forms that it has.
struct PhrasePattern: Sendable {
    enum Role: Sendable, Hashable {
        /// Says these commands. Several are a contradiction.
        case says(Set<RecordingCommand>)
        /// Asks for what the rest of its clause says.
        case request
        /// Adds nothing.
        case courtesy
        /// Adds nothing as long as it is all of its clause: "no, start training", but not "no start training".
        case aside
    }

    /// One place of a phrase.
    struct Part: Sendable {
        /// The words that may stand there.
        var alternatives: [[String]]
        /// Whether there may also be none.
        var isOptional: Bool
    }

    let role: Role
    let parts: [Part]

    /// Reads the notation of ``table``.
    init(_ role: Role, _ notation: String) {
        var notation = notation
        for (name, meaning) in Self.names { notation = notation.replacing(name, with: meaning) }
        self.role = role
        parts = notation.split(separator: " ").map { part in
            let isOptional = part.hasPrefix("[")
            let alternatives = isOptional ? part.dropFirst().dropLast() : part
            return Part(
                alternatives: alternatives.split(separator: "|").map { $0.split(separator: "_").map(String.init) },
                isOptional: isOptional)
        }
    }

    /// The patterns of the phrases that may begin with a word.
    static let byFirstWord: [String: [PhrasePattern]] = {
        var patterns: [String: [PhrasePattern]] = [:]
        for (role, notations) in table {
            for pattern in notations.map({ PhrasePattern(role, $0) }) {
                for word in pattern.firstWords { patterns[word, default: []].append(pattern) }
            }
        }
        return patterns
    }()

    private var firstWords: Set<String> {
        var words: Set<String> = []
        for part in parts {
            words.formUnion(part.alternatives.compactMap(\.first))
            if !part.isOptional { break }
        }
        return words
    }

    /// What the capital words of ``table`` stand for. Only "the" and "this" may stand before an object: "my training"
    /// and "your reasoning" are something else.
    private static let names: KeyValuePairs = [
        "OBJECT": "[the|this] [enhanced] training|reasoning|recording [mode] [session] [recording]",
        "SESSION": "[the|this] session",
        "ENABLE": "enable|start|activate|begin|reenable|re_enable|reactivate|re_activate|turn_on|switch_on",
        "DISABLE": "disable|stop|deactivate|de_activate|end|halt|turn_off|switch_off",
        "LOOK": "check|show|show_me|get|give_me|tell_me|display|report|what_is|what's|whats",
        "STATE": "[still|currently|now] on|off|enabled|disabled|active|inactive|activated|deactivated|running",
    ]

    /// Places are separated by spaces and alternatives by "|", the words of an alternative are joined by "_", and what
    /// stands in brackets may be left out.
    private static let table: KeyValuePairs<Role, [String]> = [
        .says([.enable]): ["ENABLE OBJECT", "turn|switch OBJECT on"],
        .says([.disable]): ["DISABLE OBJECT", "turn|switch OBJECT off"],
        .says([.checkStatus]): [
            "[LOOK] OBJECT status", "[LOOK] [the] status of OBJECT",
            "[LOOK] SESSION status", "[LOOK] [the] status of SESSION",
            "check [on] OBJECT", "is OBJECT STATE", "check|tell_me|show_me if|whether OBJECT is STATE",
            "are you|we [still|currently|now] recording",
        ],
        .says([.enable, .disable]): ["restart|re_start|toggle|switch|reset|pause|resume OBJECT"],
        .says([.enable, .checkStatus]): ["ENABLE OBJECT status"],
        .says([.disable, .checkStatus]): ["DISABLE OBJECT status"],

        .request: ["please|kindly", "can|could|will|would you", "i want|need|would_like you to", "i'd like you to"],
        .courtesy: [
            "hi|hello|hey|ok|okay|yes|sure|alright|just|go_ahead|thanks|thank_you", "now|right_now|immediately|again",
            "[for] this session|agent|task|chat|conversation",
        ],
        .aside: ["OBJECT", "no|no_problem|no_worries|never_mind|nevermind|don't_worry"],
    ]
}
