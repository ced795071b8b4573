internal import TensorCore

/// Examples for fine-tuning, made of what went into a model call and what came out: each a JSON object as UTF-8, on one line and
/// without its end.
///
/// **Input.** JSON with a list `messages`, or a list itself, of objects with texts `role` and `content` is that conversation; JSON
/// with a text `prompt`, and a text `system` or none, is these; a text is the user's words. For anything else they are the JSON
/// text as it is.
///
/// **Output.** Texts are the answer. Of a JSON object the answer is the first of `text`, `content`, `output`, `completion` and
/// `response` that is a text, or else the text at `choices[0].message.content` or `choices[0].text`. For anything else it is the
/// JSON text as it is.
///
/// A call without input or output, or with `null` as one of them, is no example. What is called JSON and is none is a text.
///
/// - Complexity: O(bytes) of all functions, in memory of a multiple of that.
public enum TrainingExample {
    /// A conversation: `{"messages":[{"role":"user","content":"…"},{"role":"assistant","content":"…"}]}`, the answer last.
    ///
    /// - Returns: `nil` for what is no example.
    public static func chat(input: RecordContent?, output: RecordContent?) -> [UInt8]? {
        guard let messages = messages(input), let answer = answer(output) else { return nil }
        var json = JSONOutput()
        json.beginObject()
        json.beginList("messages")
        for message in messages + [Message(role: "assistant", content: answer)] {
            json.beginObject()
            json.member("role", message.role)
            json.member("content", message.content)
            json.endObject()
        }
        json.endList()
        json.endObject()
        return json.bytes
    }

    /// A prompt and how it goes on: `{"prompt":"…","completion":"…"}`.
    ///
    /// The prompt of several messages is each as `role: content`, on lines of their own; that of one is its content.
    ///
    /// - Returns: `nil` for what is no example.
    public static func completion(input: RecordContent?, output: RecordContent?) -> [UInt8]? {
        guard let answer = answer(output) else { return nil }
        return object(input, [("completion", answer)])
    }

    /// A preference: `{"prompt":"…","chosen":"…","rejected":"…"}`, the prompt as in ``completion(input:output:)``.
    ///
    /// - Returns: `nil` for what is no example.
    public static func preference(
        input: RecordContent?, chosen: RecordContent?, rejected: RecordContent?
    ) -> [UInt8]? {
        guard let chosen = answer(chosen), let rejected = answer(rejected) else { return nil }
        return object(input, [("chosen", chosen), ("rejected", rejected)])
    }

    private static func object(_ input: RecordContent?, _ answers: [(String, String)]) -> [UInt8]? {
        guard let messages = messages(input) else { return nil }
        let prompt =
            messages.count == 1
            ? messages[0].content : messages.map { "\($0.role): \($0.content)" }.joined(separator: "\n")
        var json = JSONOutput()
        json.beginObject()
        json.member("prompt", prompt)
        for (key, answer) in answers { json.member(key, answer) }
        json.endObject()
        return json.bytes
    }
}

extension TrainingExample {
    private struct Message {
        var role: String
        var content: String
    }

    /// The conversation that went in, never empty.
    private static func messages(_ input: RecordContent?) -> [Message]? {
        func user(_ words: String) -> [Message] { [Message(role: "user", content: words)] }
        switch input {
        case nil: return nil
        case .text(let words)?: return user(words)
        case .json(let text)?:
            guard let value = JSONCheck.value(text) else { return user(text) }
            if case .null = value.content { return nil }
            if let words = value.words { return user(words) }
            if let messages = conversation(value["messages"] ?? value) { return messages }
            guard let prompt = value["prompt"]?.words else { return user(text) }
            guard let system = value["system"]?.words else { return user(prompt) }
            return [Message(role: "system", content: system)] + user(prompt)
        }
    }

    private static func conversation(_ value: JSONValue) -> [Message]? {
        guard let elements = value.list, !elements.isEmpty else { return nil }
        var messages: [Message] = []
        for element in elements {
            guard let role = element["role"]?.words, let content = element["content"]?.words else { return nil }
            messages.append(Message(role: role, content: content))
        }
        return messages
    }

    /// The words that came out.
    private static func answer(_ output: RecordContent?) -> String? {
        switch output {
        case nil: return nil
        case .text(let words)?: return words
        case .json(let text)?:
            guard let value = JSONCheck.value(text) else { return text }
            if case .null = value.content { return nil }
            if let words = value.words { return words }
            for key in ["text", "content", "output", "completion", "response"] {
                if let words = value[key]?.words { return words }
            }
            let choice = value["choices"]?.list?.first
            return choice?["message"]?["content"]?.words ?? choice?["text"]?.words ?? text
        }
    }
}

extension JSONValue {
    /// The text that it is.
    fileprivate var words: String? {
        if case .string(let words) = content { words } else { nil }
    }

    /// The elements of the list that it is.
    fileprivate var list: [JSONValue]? {
        if case .array(let elements) = content { elements } else { nil }
    }

    /// A member of the object that it is.
    fileprivate subscript(key: String) -> JSONValue? {
        if case .object(let members) = content { members.first { $0.key == key }?.value } else { nil }
    }
}
