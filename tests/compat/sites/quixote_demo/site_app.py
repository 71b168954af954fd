"""The demonstration that comes with Quixote, as it is."""

import quixote
from quixote.demo import create_publisher

create_publisher()
application = quixote.get_wsgi_app()
