/// Reads commands to the recording of model calls that are written in plain English.
///
/// ```text
/// Please turn enhanced reasoning on.       command(enable)
/// stop training                            command(disable)
/// Is enhanced reasoning on?                command(checkStatus)
/// restart training                         ambiguous
/// If the tests pass, start training.       ambiguous: a part of the sentence is not understood
/// please don't start training              none
/// How do I enable training?                none
/// ```
///
/// **What is read.** A text is cut into sentences (at `.` `!` `?` `;`), these into clauses (at `,` `:` `&` `…`, "and",
/// "or", "but", "then"), and these into words. A clause is understood when known phrases cover all of it, at each place
/// the longest: a command, and around it courtesies such as "please" or "for this session". "Training", "reasoning" and
/// "recording" mean the same, with "enhanced" or without. A clause with any other word is not understood and says
/// nothing: "don't start training", "I started training" and "start training the dog" do nothing, and "deactivate" is
/// another word than "activate".
///
/// **What becomes a question**, for in doubt nothing is switched:
///
/// - different commands in one text, and verbs that could be either, such as "restart" or "pause";
/// - "enable training status", which could be two commands;
/// - a command in a sentence of which another clause is not understood: "do not, in any case, start training";
/// - a command to switch that ends with a question mark, unless it is a request, as in "can you enable training?";
/// - a command before something that may take it back: "start training. Never mind.";
/// - a command in a text with quotation marks, backticks or ">";
/// - a command in a clause that is negated twice: "don't not start training".
///
/// Words are compared without regard to case, as canonically equivalent strings, and curly apostrophes are straight.
/// Line breaks are spaces. Hyphens and "_" separate words. Other signs are not understood.
///
/// - Complexity: O(bytes of the text), of which there are at most ``maximumLength``, with no regular expressions.
public enum RecordingPhrase {
    /// The most bytes (UTF-8) that are read. A command is short: a longer text is a document, and has no meaning here.
    public static let maximumLength = 4_096

    /// What a text asks of the recording.
    public enum Meaning: Sendable, Hashable {
        /// This, and nothing else.
        case command(RecordingCommand)
        /// Something that only its author can tell; nothing may be switched. The question never quotes the text, and is
        /// no command itself.
        case ambiguous(question: String)
        /// Nothing.
        case none
    }

    /// What `text` asks of the recording.
    public static func meaning(of text: String) -> Meaning {
        var steps = 0
        return meaning(of: text, steps: &steps)
    }

    /// What `text` asks of the recording; adds to `steps` how often a word was compared.
    package static func meaning(of text: String, steps: inout Int) -> Meaning {
        guard text.utf8.prefix(maximumLength + 1).count <= maximumLength else { return .none }
        let phrases = PhraseText(text)
        var reader = PhraseReader()
        var commands: Set<RecordingCommand> = []
        var isDoubtful = phrases.isQuoting
        for sentence in phrases.sentences {
            var isUnderstood = true
            var isRequest = !sentence.isQuestion
            var says: Set<RecordingCommand> = []
            for clause in sentence.clauses {
                let reading = reader.read(clause)
                // What is refused before a command ends with its sentence. "Never mind" behind it may be about it.
                if reading.takesBack, !commands.union(says).isEmpty { isDoubtful = true }
                isUnderstood = isUnderstood && reading.isUnderstood
                isRequest = isRequest || reading.isRequest
                says.formUnion(reading.commands)
            }
            // Only the status is asked for by a question.
            if !says.isEmpty, !isUnderstood || !(isRequest || says == [.checkStatus]) { isDoubtful = true }
            commands.formUnion(says)
        }
        steps += reader.steps
        guard let command = commands.first else { return .none }
        if commands.count > 1 { return .ambiguous(question: whichQuestion) }
        return isDoubtful ? .ambiguous(question: question(whether: command)) : .command(command)
    }

    private static let whichQuestion =
        "Which is meant: to switch the recording of model calls on, to switch it off, or to show its status?"

    private static func question(whether command: RecordingCommand) -> String {
        switch command {
        case .enable: "Is this a request to switch the recording of model calls on?"
        case .disable: "Is this a request to switch the recording of model calls off?"
        case .checkStatus: "Is this a request for the status of the recording of model calls?"
        }
    }
}
