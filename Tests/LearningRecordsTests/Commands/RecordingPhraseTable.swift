import LearningRecords

/// Texts, and what they are to mean.
struct PhraseRow: Sendable {
    enum Meaning: Sendable, Hashable { case enable, disable, status, question, none }

    var text: String
    var meaning: Meaning

    private static func rows(_ meaning: Meaning, _ texts: [String]) -> [PhraseRow] {
        texts.map { PhraseRow(text: $0, meaning: meaning) }
    }

    static let all: [PhraseRow] =
        rows(.enable, enabling) + rows(.disable, disabling) + rows(.status, asking)
        + rows(.question, contradicting + partial + doubtful + takenBack)
        + rows(.none, negated + telling + otherThings + noCommands)

    static let enabling = [
        "enable enhanced reasoning", "enable reasoning", "enable training", "enable enhanced training",
        "start enhanced reasoning", "start reasoning", "start training", "start recording",
        "activate enhanced reasoning", "activate reasoning", "activate training", "turn on enhanced reasoning",
        "turn on reasoning", "turn on training", "switch on training", "turn training on",
        "turn enhanced reasoning on", "switch the recording on", "turn the enhanced reasoning mode on",
        "begin training", "begin the recording session", "start the training", "start this recording",
        "enable training mode", "start the training session", "start training session recording",
        "re-enable training", "reenable training", "reactivate training", "re-activate enhanced reasoning",
        "ENABLE_ENHANCED_REASONING", "ENABLE Enhanced ReaSoning!", "Start training.", "Start training...",
        "turn-on training", "please start training", "start training please", "Please, start training, please.",
        "kindly enable reasoning", "can you enable training?", "could you please turn on training?",
        "would you start training for this session?", "Will you start recording now?", "start training, can you?",
        "please start training?", "I want you to start training", "I’d like you to enable training",
        "i would like you to turn training on", "ok, start training now", "Hello! Please start training. Thank you!",
        "hey please start training again, thanks", "start training for this session",
        "start recording this conversation", "start training for this agent, please", "go ahead and start training",
        "yes, start training right now", "enable training and reasoning", "start training and start reasoning",
        "start training; start training", "  start\n\ttraining\r\n", "never mind, start training",
        "no, start training", "No problem, start training", "don't worry, start training",
        "I'm not sure. Start training.", "Don't fix the bug. Start training.", "I don't like it; enable training",
        "Fix the bug. Start training. Report the loss.", "Stop training the dog. Start training.",
        "\u{212A}indly start training", "start\u{A0}training", "start — training", "and then start training",
    ]

    static let disabling = [
        "disable enhanced reasoning", "disable reasoning", "disable training", "disable recording",
        "stop enhanced reasoning", "stop reasoning", "stop training", "stop recording",
        "deactivate enhanced reasoning", "deactivate reasoning", "Deactivate training!", "de-activate training",
        "turn off enhanced reasoning", "turn off reasoning", "turn off training", "switch off the recording",
        "turn training off", "turn enhanced reasoning off", "switch enhanced reasoning mode off please",
        "end the training session", "halt training", "DISABLE_ENHANCED_REASONING", "please stop training",
        "can you stop recording?", "could you turn enhanced reasoning off for this session?",
        "stop training now, thanks", "no, please stop training", "never mind, stop training",
        "stop training and reasoning", "okay then stop training", "I do not like this. Stop training.",
        "don’t worry, stop training",
    ]

    static let asking = [
        "enhanced reasoning status", "reasoning status", "training status", "session status", "recording status",
        "training session status", "the status of training", "status of the session",
        "CHECK_ENHANCED_REASONING_STATUS", "check enhanced reasoning", "check training", "check on the recording",
        "check the training status", "check enhanced reasoning status", "check reasoning status",
        "check session status", "show session status", "show me the session status",
        "give me the training status please", "get the status of enhanced reasoning", "what is the training status",
        "What's the training status?", "what’s the status of the session?", "whats the status of training",
        "can you check the training status?", "could you tell me the status of enhanced reasoning?",
        "is enhanced reasoning on?", "is training off?", "Is the recording still running?",
        "is enhanced reasoning mode enabled", "is training active", "is training inactive?",
        "check if training is on", "tell me whether enhanced reasoning is currently enabled",
        "are you still recording?", "hi, is training on now?", "training status; session status",
    ]

    /// More than one command, or one that may be either.
    static let contradicting = [
        "stop training and start reasoning", "start training, stop training", "Start training. Stop training.",
        "stop training then start training", "stop training start reasoning", "start or stop training",
        "either start training or stop training", "enable training and check the training status",
        "Stop training. What is the training status?", "enable enhanced reasoning status", "disable training status",
        "start the training session status", "restart training", "restart enhanced reasoning", "re-start training",
        "please restart the recording", "toggle training", "switch training", "reset training", "pause recording",
        "resume enhanced reasoning", "can you restart training?", "start training and restart reasoning",
    ]

    /// In a sentence that is not all understood.
    static let partial = [
        "If the tests pass, start training", "start training, if you must", "start training, but only when I say so",
        "unless I object, stop training", "load the data, split it and start training", "Example: start training",
        "Don't, please, start training", "do not, in any case, start training", "don't do it: start training",
        "Please don't... start training", "I do not want you to, ever, start training", "don't stop, start training",
        "don't stop training, start reasoning", "do not start reasoning, but enable training",
        "don't stop and start training", "the training is off, turn training on", "turn on training, not reasoning",
        "stop and disable training", "he told me to leave, then stop training",
        "my paper is on dogs, training status, and cats", "Should we wait, or start training?",
        "I don't know whether to start training or stop training",
    ]

    /// Bare questions, quotations, double negations.
    static let doubtful = [
        "start training?", "Stop training?!", "turn on training, ok?", "no, stop training?",
        "don't not start training", "never don't enable training", "do not not stop training",
        "please don't never turn on training", "no no start training", "\"Please. Start training. Now.\"",
        "He wrote `x`. Start training.", "> Hello.\n> No. Start training. Bye.", "“Hi. Start training. Bye.”",
        "«Hi. Stop training. Bye.»",
    ]

    static let takenBack = [
        "start training, never mind", "Start training. Never mind.", "Start training... no", "Start training. Don't.",
        "start training. No, wait.", "start training. Cancel that!", "Stop training; actually, keep it on.",
        "Start training. Only if the tests pass.", "start training. stop!",
    ]

    static let negated = [
        "please don't start training", "don't start training", "Don’t start training!", "don‘t start training",
        "do not start training", "dont start training", "do not enable enhanced reasoning", "do not\nstart training",
        "never start training", "never enable enhanced reasoning", "not enable training", "start training not",
        "no training", "no start training", "without training", "without starting training",
        "you must not start training", "you shouldn't start training", "I can't start training",
        "cannot start training", "start training - not now", "can you not start training?",
        "could you please not turn on training", "why not start training?", "don't turn training on",
        "turn training not on", "stop starting training", "cease starting training",
        "stop enabling enhanced reasoning", "never mind start training", "don't start or enable", "do not disable",
        "do not disable training", "don't stop training", "please never stop recording",
        "don't deactivate enhanced reasoning", "don't turn off training", "don't restart training",
        "do not stop starting training", "don't check the training status", "avoid starting training",
        "training is not on", "Don't. Train.", "don't start training; thanks",
        "don't start training and don't stop training",
    ]

    /// Questions about it, and what was or will be.
    static let telling = [
        "should I start training?", "how do I enable training?", "how can I turn on enhanced reasoning?",
        "why did you stop training", "why did you start training?", "when was training enabled",
        "was training enabled?", "what happens when I enable training?", "what does enable training do?",
        "who can start training?", "can I start training?", "would you like to start training?",
        "may we stop training?", "should you restart training?", "training was started yesterday",
        "I started training", "we stopped training", "training started", "I start training",
        "they start training at 5", "you can start training", "I want to start training",
        "it is time to stop training", "starting training", "enabling training", "activated training",
        "training enabled", "training stopped", "enhanced reasoning is on", "reasoning is inactive",
        "keep training on", "leave enhanced reasoning off", "I told him to please start training",
        "start training tomorrow", "start training if the tests pass",
    ]

    static let otherThings = [
        "start the training montage video", "enable training wheels", "train", "start training the dog",
        "reasoning about the training status of my dog", "start training a model on the data",
        "start training data upload", "start my training", "stop your reasoning", "check my reasoning",
        "check the reasoning in this proof", "start recording my screen", "stop recording the video",
        "start reasoning step by step", "what is training", "what is the training schedule",
        "the training status page is down", "show the status", "session", "start session",
        "start the strength training", "start training for the marathon", "reactivation training",
        "trainer.start_training()", "enable training=false", "start training 2", "un-disable training",
        "preactivate training", "start retraining", "start trainings", "start constraining",
        "turn on the lights and the training", "turn it on", "stop it", "start (training)", "start \"training\"",
        "say \"start training\"", "\"start training\"", "`start training`", "'start training'",
        "the command ‘enable training’", "start training 🚀", "e.start training",
    ]

    static let noCommands = [
        "", " ", ".", "?!", ",,;", "please", "training", "enhanced reasoning", "thanks!", "no", "never mind",
        "and then", "start", "stop", "enable", "status", "turn on", "turn off training on", "on", "training on",
        "Hello, world.", "🙂", "inactive", "deactivate", "activate", "st art training", "s\u{200B}tart training",
        "de\u{AD}activate training", "ｓｔａｒｔ training", "stárt training", "st\u{430}rt training",
        "start training\u{301}",
    ]
}
