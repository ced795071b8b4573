// The umbrella: `import Attune` gives every public symbol of the modules below it.
@_exported public import Evaluation
@_exported public import LearningLoop
@_exported public import LearningRecords
@_exported public import LoRA
@_exported public import Personalization
@_exported public import Reasoning
@_exported public import SQLiteStorage
@_exported public import Telemetry
@_exported public import TensorCore
