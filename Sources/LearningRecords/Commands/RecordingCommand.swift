/// What can be asked of the recording of model calls: "enhanced reasoning", or "training", as users call it.
public enum RecordingCommand: String, Sendable, Hashable, CaseIterable {
    /// Switch the recording on.
    case enable = "ENABLE_ENHANCED_REASONING"
    /// Switch the recording off.
    case disable = "DISABLE_ENHANCED_REASONING"
    /// Say whether it is on, and what it has recorded.
    case checkStatus = "CHECK_ENHANCED_REASONING_STATUS"
}
