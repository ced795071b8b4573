internal import LearningRecords
internal import Reasoning

extension Connection {
    /// Keeps a workflow, or what is new of it, and tells of it; nothing where nothing is new.
    func merge(_ given: AgentWorkflow, _ project: Int64, _ now: Timestamp) throws {
        var workflow = given
        workflow.state = workflow.state.map { RecordContent(stored: $0.stored) }
        workflow.results = workflow.results.map { RecordContent(stored: $0.stored) }
        let ref: Int64
        if let held = try self.workflow(workflow.id, project) {
            let merged = held.workflow.merged(with: workflow)
            if merged == held.workflow { return }
            (workflow, ref) = (merged, held.ref)
        } else {
            try run(
                "INSERT INTO traces (project, id, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)",
                [.integer(project), .string(RecordID(at: now).description), .moment(now)])
            ref = lastInsertedRow
        }
        try run(
            """
            INSERT INTO workflows (trace, project, external_id, name, description, type, phase, status, current_step, total_steps,
                completed_steps, state, results, agents, error, metadata, tags, entity, created_at, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?19)
            ON CONFLICT (trace) DO UPDATE SET name = ?4, description = ?5, type = ?6, phase = ?7, status = ?8, current_step = ?9,
                total_steps = ?10, completed_steps = ?11, state = ?12, results = ?13, agents = ?14, error = ?15, metadata = ?16,
                tags = ?17, entity = ?18, updated_at = ?19
            """,
            [
                .integer(ref), .integer(project), .string(workflow.id), .string(workflow.name),
                .optional(workflow.summary), .optional(workflow.type), .optional(workflow.phase),
                .string(workflow.status.rawValue), .optional(workflow.currentStep), .optional(workflow.totalSteps),
                .optional(workflow.completedSteps), .optional(workflow.state?.stored),
                .optional(workflow.results?.stored), .optional(AgentWorkflow.list(workflow.agents)),
                .optional(workflow.error), .optional(workflow.metadata), .optional(AgentWorkflow.list(workflow.tags)),
                .optional(workflow.subject), .moment(now),
            ])
        try run(
            """
            INSERT INTO outbox (project, workflow, topic, payload, attempts, created_at) VALUES (?, ?, ?, ?, 0, ?)
            """,
            [
                .integer(project), .integer(ref), .string(TrainingTopic.workflows.rawValue),
                .string(String(decoding: workflow.json, as: UTF8.self)), .moment(now),
            ])
    }

    /// A workflow by its number, with when it was told first and when it changed last.
    ///
    /// - Throws: ``StorageError`` (`damaged`) where there is none.
    func workflow(
        at ref: Int64
    ) throws(StorageError) -> (workflow: AgentWorkflow, createdAt: Timestamp, updatedAt: Timestamp) {
        var row: (id: String, project: Int64, createdAt: Timestamp, updatedAt: Timestamp)?
        try run("SELECT external_id, project, created_at, updated_at FROM workflows WHERE trace = ?", [.integer(ref)]) {
            row = ($0.text(0), $0.integer(1), $0.moment(2), $0.moment(3))
        }
        guard let row, let found = try workflow(row.id, row.project) else {
            throw StorageError(.damaged, "workflow", "a workflow is not where an index has it", path: path)
        }
        return (found.workflow, row.createdAt, row.updatedAt)
    }

    /// A workflow by the application's identifier, with its number; `nil` where there is none.
    func workflow(_ id: String, _ project: Int64) throws(StorageError) -> (ref: Int64, workflow: AgentWorkflow)? {
        var found: (Int64, AgentWorkflow)?
        let path = path
        try run(
            """
            SELECT trace, name, description, type, phase, status, current_step, total_steps, completed_steps, state, results, agents,
                error, metadata, tags, entity
            FROM workflows WHERE project = ? AND external_id = ?
            """, [.integer(project), .string(id)]
        ) { row throws(StorageError) in
            guard let status = SpanStatus(rawValue: row.text(5)) else {
                throw StorageError(.damaged, "workflow", "a workflow has no status", path: path)
            }
            var workflow = AgentWorkflow(id: id, name: row.text(1), status: status)
            (workflow.summary, workflow.type, workflow.phase) = (
                row.optionalText(2), row.optionalText(3), row.optionalText(4)
            )
            workflow.currentStep = row.optionalText(6)
            (workflow.totalSteps, workflow.completedSteps) = (row.optionalInteger(7), row.optionalInteger(8))
            workflow.state = row.optionalText(9).map { RecordContent(stored: $0) }
            workflow.results = row.optionalText(10).map { RecordContent(stored: $0) }
            workflow.agents = row.optionalText(11).flatMap { AgentWorkflow.texts($0) }
            (workflow.error, workflow.metadata) = (row.optionalText(12), row.optionalText(13))
            workflow.tags = row.optionalText(14).flatMap { AgentWorkflow.texts($0) }
            workflow.subject = row.optionalText(15)
            found = (row.integer(0), workflow)
        }
        return found.map { (ref: $0.0, workflow: $0.1) }
    }
}
