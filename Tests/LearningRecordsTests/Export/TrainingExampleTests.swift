import Testing

@testable import LearningRecords

@Suite struct TrainingExampleTests {
    private func text(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

    /// An input, the messages that it is, and the prompt that it is.
    private static let inputs: [(RecordContent, String, String)] = [
        (.text("Hi \"you\"\n"), #"{"role":"user","content":"Hi \"you\"\n"}"#, #"Hi \"you\"\n"#),
        (.text(""), #"{"role":"user","content":""}"#, ""),
        (.json(#""Hi""#), #"{"role":"user","content":"Hi"}"#, "Hi"),
        (
            .json(
                #"{"messages":[{"role":"system","content":"Be brief","name":"x"},{"content":"Hi","role":"user"}],"n":1}"#
            ),
            #"{"role":"system","content":"Be brief"},{"role":"user","content":"Hi"}"#, #"system: Be brief\nuser: Hi"#
        ),
        (.json(#"[{"role":"user","content":"Hi"}]"#), #"{"role":"user","content":"Hi"}"#, "Hi"),
        (
            .json(#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]"#),
            #"{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}"#,
            #"user: a\nassistant: b\nuser: c"#
        ),
        (.json(#"{"prompt":"Hi","temperature":0.7}"#), #"{"role":"user","content":"Hi"}"#, "Hi"),
        (
            .json(#"{"prompt":"Hi","system":"Be brief"}"#),
            #"{"role":"system","content":"Be brief"},{"role":"user","content":"Hi"}"#, #"system: Be brief\nuser: Hi"#
        ),
        (.json(#"{"prompt":"Hi","system":1,"messages":[]}"#), #"{"role":"user","content":"Hi"}"#, "Hi"),
        (.json(#"{"prompt":"Hi","messages":[{"role":"user"}]}"#), #"{"role":"user","content":"Hi"}"#, "Hi"),
        (.json(#"{"n": 1}"#), #"{"role":"user","content":"{\"n\": 1}"}"#, #"{\"n\": 1}"#),
        (.json("[]"), #"{"role":"user","content":"[]"}"#, "[]"),
        (.json("12"), #"{"role":"user","content":"12"}"#, "12"),
        (.json("no JSON"), #"{"role":"user","content":"no JSON"}"#, "no JSON"),
        (
            .json(#"[{"role":"user","content":["x"]}]"#),
            #"{"role":"user","content":"[{\"role\":\"user\",\"content\":[\"x\"]}]"}"#,
            #"[{\"role\":\"user\",\"content\":[\"x\"]}]"#
        ),
    ]

    private static let outputs: [(RecordContent, String)] = [
        (.text("Hello"), "Hello"), (.text("tab\t\u{2028}"), "tab\\t\u{2028}"), (.json(#""He\u006clo""#), "Hello"),
        (.json(#"{"response":"5","completion":"4","output":"3","content":"2","text":"1"}"#), "1"),
        (.json(#"{"response":"5","completion":"4","output":"3","content":"2","text":null}"#), "2"),
        (.json(#"{"response":"5","completion":"4","output":"3"}"#), "3"),
        (.json(#"{"response":"5","completion":"4"}"#), "4"), (.json(#"{"response":"5","x":1}"#), "5"),
        (.json(#"{"id":"x","choices":[{"message":{"role":"assistant","content":"Hello"}},{"text":"no"}]}"#), "Hello"),
        (.json(#"{"choices":[{"text":"Hello","message":{"content":null}}]}"#), "Hello"),
        (.json(#"{"choices":[]}"#), #"{\"choices\":[]}"#), (.json("[1]"), "[1]"), (.json("no JSON"), "no JSON"),
        (.json("true"), "true"),
    ]

    @Test(arguments: inputs)
    func inputsBecomeMessages(input: RecordContent, messages: String, prompt: String) {
        #expect(
            text(TrainingExample.chat(input: input, output: .text("Hello")))
                == #"{"messages":[\#(messages),{"role":"assistant","content":"Hello"}]}"#)
        #expect(
            text(TrainingExample.completion(input: input, output: .text("Hello")))
                == #"{"prompt":"\#(prompt)","completion":"Hello"}"#)
        #expect(
            text(TrainingExample.preference(input: input, chosen: .text("a"), rejected: .json(#"{"text":"b"}"#)))
                == #"{"prompt":"\#(prompt)","chosen":"a","rejected":"b"}"#)
    }

    @Test(arguments: outputs)
    func outputsBecomeTheAnswer(output: RecordContent, answer: String) {
        #expect(
            text(TrainingExample.completion(input: .text("Hi"), output: output))
                == #"{"prompt":"Hi","completion":"\#(answer)"}"#)
        #expect(
            text(TrainingExample.chat(input: .text("Hi"), output: output))
                == #"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"\#(answer)"}]}"#)
    }

    @Test func aCallWithoutInputOrOutputIsNoExample() {
        for nothing in [nil, RecordContent.json(" null ")] {
            #expect(TrainingExample.chat(input: nothing, output: .text("x")) == nil)
            #expect(TrainingExample.chat(input: .text("x"), output: nothing) == nil)
            #expect(TrainingExample.completion(input: nothing, output: .text("x")) == nil)
            #expect(TrainingExample.completion(input: .text("x"), output: nothing) == nil)
            #expect(TrainingExample.preference(input: nothing, chosen: .text("x"), rejected: .text("y")) == nil)
            #expect(TrainingExample.preference(input: .text("x"), chosen: nothing, rejected: .text("y")) == nil)
            #expect(TrainingExample.preference(input: .text("x"), chosen: .text("y"), rejected: nothing) == nil)
        }
    }

    @Test func anExampleIsOneLine() {
        var random = Xorshift(seed: 5)
        for i in 0..<200 {
            let input = RecordContent.json("{\"prompt\" :\n\(JSONOutput.quoted(random.nastyText()))\n}")
            let output = RecordContent.text(random.nastyText())
            let example = TrainingExample.chat(input: input, output: output) ?? [0x0A]
            #expect(!example.contains(0x0A) && JSONTokens.isValid(example), "text \(i) of seed 5")
        }
    }
}
