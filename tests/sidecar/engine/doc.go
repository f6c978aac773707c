// Package engine is the client of rdma-engine: it reads byte ranges of SeaweedFS needles into
// memory the engine shares with its clients, and lets the program see them there.
//
//	client, err := engine.Open(ctx, engine.Options{Socket: "/tmp/rdma-engine.sock"})
//	…
//	request, err := engine.ParseFileID("3,01637037d6")
//	view, err := client.Read(ctx, request)
//	…
//	defer view.Close()
//	w.Write(view.Bytes())
//
// # Leases
//
// A read takes a buffer of the engine's pool, has the bytes landed in it, and leases it to the
// client until the client says that it has finished, or until a deadline. [Client.Read] returns
// the lease as a [View], and [View.Close] ends it. The pool is shared by all clients and has no
// more than so many bytes: a View kept open makes others wait, and in the end fail with
// [ResourceExhausted]. Close each as soon as its bytes are used. [Client.ReadAll] and
// [Client.ReadInto] copy, and keep no lease.
//
// The message that ends a lease, a CompleteRead, costs no round trip. It is sent together with
// the next read, or by itself a moment later ([Options.CompleteDelay]); nobody waits for its
// answer. Failures are counted in [Stats] and told to [Options.OnCompleteError].
//
// # Deadlines
//
// The engine does not take a buffer back from a living client before the lease's deadline
// ([View.Deadline]; [Request.Timeout] or the engine's default). After it, the buffer may hold
// another reader's bytes at any moment, and nothing in the memory itself tells. So bytes are
// right if they were used before the deadline. View.Close returns [ErrExpired] if it is called
// after it: whoever copied from the View, or acted on what it said, has to throw that away and
// read again. ReadAll and ReadInto do this check themselves and never return such bytes.
//
// The death of the process gives all of its buffers back.
//
// The deadline of a lease is not that of the call. A call ends when its context does, or after
// [Options.Timeout] if the context has no deadline. A connection on which a call was given up is
// closed, because the answer may still come.
//
// # The rules of zero copy
//
// [View.Bytes] is the engine's memory, mapped read-only. Writing to it is a fault that ends the
// process, and so may be reading it after Close. Whatever has to outlive the View, strings and
// subslices included, has to be copied out of it. A View that is never closed keeps its buffer
// until the deadline, and, should the engine be restarted, the mapping of the old pool for good.
//
// # Trust
//
// The engine decides by the user id behind the socket, and by [Options.Token] where it has a
// token configured, who may read. Whoever may read has the whole pool mapped and can see what
// is being read for other clients: give only programs access that may see all needles. No
// client can write to the pool.
//
// This package trusts the engine with the contents of the bytes, and checks everything else it
// says: that the pool can not shrink under the mapping or be written by other clients, that
// every range lies within it, that replies answer what was asked. The engine checks the checksum
// stored with a needle where it reads it whole ([View.CRCVerified]). [Options.VerifyCRC], or
// [View.Verify], makes the client compare the CRC-32C of what it sees with what the engine
// computed when the bytes landed.
//
// # Restarts
//
// When the engine is restarted, the next call connects to the new one and maps its pool. Views of
// the old pool stay readable until they are closed, and right: nobody writes to it any more.
//
// # Errors
//
// What the engine refuses is an [*Error] with a [Code] for errors.Is:
//
//	if errors.Is(err, engine.NeedleNotFound) { … }
//
// and with errors.As its Recoverable field says whether trying again can help.
package engine
