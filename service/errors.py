"""What can go wrong outside of an alert, told apart by what to do about it. A bad alert is ``InvalidAlert``."""


class ServiceError(Exception):
    """Anything that the service itself raises."""


class RegistryUnavailable(ServiceError):
    """The schema registry did not answer: wait and ask again; the message is neither good nor bad yet."""


class TransactionAborted(ServiceError):
    """Nothing of the batch became visible: rewind to the committed offsets and do it again."""


class KafkaUnavailable(ServiceError):
    """Kafka cannot be used now: begin anew with it, from the committed offsets, until it can."""


class TooLong(ServiceError):
    """A topic does not take a message of that length. Nothing that was to be published with it is."""


class PartitionsRevoked(ServiceError):
    """What the batch was polled from went to another worker, which does it: forget it."""


class Misconfigured(ServiceError):
    """The service cannot start like this; the message says what to change."""


class Refused(Misconfigured):
    """Kafka does not let this client in, or shows a certificate that it cannot trust."""


class Unmade(Misconfigured):
    """Kafka's client does not take an option, or cannot read the file that one names."""


class Fatal(ServiceError):
    """The process must end, with nothing committed: another one has taken its place, or Kafka refuses it for good."""


class Fenced(Fatal):
    """Kafka has given this producer's name to another one."""


class HistoryUnavailable(ServiceError):
    """Redis did not answer. The stream never raises this: it goes on without."""


class Overloaded(ServiceError):
    """The bounded queue before the model is full: the caller may try again later."""
