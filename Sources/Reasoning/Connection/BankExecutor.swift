internal import Dispatch
internal import TensorCore

/// Where banks run: threads of their own, so that a bank that blocks its thread, or computes for long, takes none of those on
/// which updates go on and deadlines are kept.
///
/// Each job goes to a lane that has none, a serial queue to which the system gives a thread as long as there is work; a new lane
/// is made where all are busy, up to ``mostLanes``. Past that jobs stand in line, and whoever waits for one of them is let go at
/// the deadline.
///
/// A bank's calls and the child tasks that it makes run here. What it does in detached tasks, or in an actor with an executor of
/// its own, does not.
package final class BankExecutor: TaskExecutor {
    /// The most calls that run at once, and the most threads that banks can block.
    static let mostLanes = 32

    private struct Lanes {
        var queues: [DispatchQueue] = []
        /// The lanes without a job.
        var idle: [Int] = []
        /// Where the next job stands in line when all lanes are busy.
        var next = 0
        /// The jobs in each lane.
        var loads: [Int] = []
    }
    private let lanes = Lock<Lanes>(Lanes())

    package init() {}

    /// The lanes that were ever needed at once.
    var laneCount: Int { lanes.withLock { $0.queues.count } }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let (lane, queue) = lanes.withLock { lanes in
            let lane = Self.lane(&lanes)
            lanes.loads[lane] += 1
            return (lane, lanes.queues[lane])
        }
        queue.async {
            unsafe job.runSynchronously(on: self.asUnownedTaskExecutor())
            self.lanes.withLock { lanes in
                lanes.loads[lane] -= 1
                if lanes.loads[lane] == 0 { lanes.idle.append(lane) }
            }
        }
    }

    private static func lane(_ lanes: inout Lanes) -> Int {
        if let idle = lanes.idle.popLast() { return idle }
        if lanes.queues.count < mostLanes {
            lanes.queues.append(DispatchQueue(label: "attune.bank"))
            lanes.loads.append(0)
            return lanes.queues.count - 1
        }
        lanes.next = (lanes.next + 1) % lanes.queues.count
        return lanes.next
    }
}
